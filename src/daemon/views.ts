// What the daemon shows of links: configuration beside what the kernel says of them.

import { readFileSync } from "node:fs";
import { SLOTS } from "../base/limits.ts";
import type { Config } from "../core/config.ts";
import { listLinks, openRouteSocket } from "../kernel/interfaces.ts";
import { countSessions } from "../kernel/sessions.ts";
import type { LinkView } from "../wire/control.ts";
import type { LinkState } from "../wire/messagesNode.ts";

/** The version of package.json. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
).version;

/** Each link with its carrier here, what the active makes of it (`states`), its share of the slots and its sessions. */
export async function linkViews(
  config: Config,
  slots: Uint8Array,
  states: readonly LinkState[],
): Promise<readonly LinkView[]> {
  const socket = openRouteSocket();
  try {
    const devices = new Map(listLinks(socket).map((link) => [link.name, link]));
    const sessions = await countSessions();
    const share = new Uint16Array(256);
    for (let slot = 0; slot < SLOTS; slot += 1) share[slots[slot]!]! += 1;
    return config.links.map((link) => ({
      id: link.id,
      name: link.name,
      device: link.service.device,
      port: link.service.port,
      ...stateOf(states.find((state) => state.link === link.id)),
      carrier: devices.get(link.service.port)?.carrier ?? false,
      weight: link.enabled ? link.weight : 0,
      slots: share[link.id]!,
      addresses: link.service.addresses.map((address) => `${address.address}/${address.prefixLength}`),
      gateway: [link.gateway.v4, link.gateway.v6].filter((gateway) => gateway !== undefined),
      sessions: sessions[link.id] ?? 0,
    }));
  } finally {
    socket.close();
  }
}

function stateOf(state: LinkState | undefined): Pick<LinkView, "state" | "reason" | "since"> {
  if (state === undefined) return { state: "unknown", reason: "none", since: null };
  return { state: state.state, reason: state.reason, since: new Date(state.since).toISOString() };
}
