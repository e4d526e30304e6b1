// The links as a table: which there are, whether they have a carrier, what share of new sessions each takes. Pure.

import { SLOTS } from "../base/limits.ts";
import type { LinkView } from "../wire/control.ts";
import type { Cell, Style } from "./text.ts";
import { count, percent, table } from "./text.ts";

const NOT_WATCHED =
  "Whether the Internet is reached through a link is not watched: a dead one keeps its share (operations.md §5).";

/** The view as text that ends with a line feed. */
export function renderLinks(links: readonly LinkView[], options: { readonly style: Style }): string {
  if (links.length === 0) return "No links are configured.\n";
  const rows = links.map((link): Cell[] => [
    String(link.id),
    { text: link.name, tone: "bold" },
    link.carrier ? { text: "ok", tone: "good" } : { text: "NO CARRIER", tone: "bad" },
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
    { title: "state" },
    { title: "weight", align: "right" },
    { title: "new sessions", align: "right" },
    { title: "sessions", align: "right" },
    { title: "interface" },
    { title: "addresses" },
    { title: "gateway" },
  ] as const;
  return `${table(columns, rows, options.style)}\n${options.style("dim", NOT_WATCHED)}\n`;
}
