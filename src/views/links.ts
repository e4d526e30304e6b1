// The links as a table: which there are, whether they have a carrier, what share of new sessions each takes. Pure.

import { SLOTS } from "../base/limits.ts";
import type { LinkView } from "../wire/control.ts";
import type { Cell, Style } from "./text.ts";
import { count, duration, percent, table } from "./text.ts";

const NOT_WATCHED =
  "Whether the Internet is reached through a link is not watched: a dead one keeps its share (operations.md §5).";

/** `up for 3 h`, `down (carrier) for 12 s`, `disabled`: what the active makes of a link. */
function stateCell({ state, reason, since }: LinkView, nowMs: number): Cell {
  if (state === "unknown") return { text: "not known", tone: "warn" };
  if (state === "disabled") return { text: "disabled", tone: "dim" };
  const why = reason === "none" ? "" : ` (${reason})`;
  const age = since === null ? "" : ` for ${duration(Math.max(0, nowMs - Date.parse(since)))}`;
  return { text: `${state}${why}${age}`, tone: state === "up" ? "good" : "bad" };
}

/** The view as text that ends with a line feed. `nowMs` is the wall clock, in milliseconds since 1970. */
export function renderLinks(
  links: readonly LinkView[],
  options: { readonly nowMs: number; readonly style: Style },
): string {
  if (links.length === 0) return "No links are configured.\n";
  const rows = links.map((link): Cell[] => [
    String(link.id),
    { text: link.name, tone: "bold" },
    link.carrier ? { text: "ok", tone: "good" } : { text: "NO CARRIER", tone: "bad" },
    stateCell(link, options.nowMs),
    String(link.weight),
    link.slots === 0 ? { text: "none", tone: "warn" } : percent(link.slots, SLOTS),
    count(link.sessions),
    `${link.device} on ${link.port}`,
    link.addresses.join(" "),
    link.gateway.join(" "),
  ]);
  const columns = [
    { title: "id", align: "right" },
    { title: "link" },
    { title: "port" },
    { title: "on the active" },
    { title: "weight", align: "right" },
    { title: "new sessions", align: "right" },
    { title: "sessions", align: "right" },
    { title: "interface" },
    { title: "addresses" },
    { title: "gateway" },
  ] as const;
  return `${table(columns, rows, options.style)}\n${options.style("dim", NOT_WATCHED)}\n`;
}
