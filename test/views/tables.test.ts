// `show links` and `show sessions`: the tables as they are printed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { renderLinks } from "../../src/views/links.ts";
import { endText, renderSessions } from "../../src/views/sessions.ts";
import { plainStyle } from "../../src/views/text.ts";

const style = plainStyle;

test("links", () => {
  const link = {
    id: 1,
    name: "fibre",
    device: "us-l1",
    port: "eth1",
    carrier: true,
    state: "up",
    reason: "none",
    since: "2026-11-20T12:00:00.000Z",
    weight: 3,
    slots: 3072,
    addresses: ["198.51.100.2/24"],
    gateway: ["198.51.100.1"],
    sessions: 15_310,
  } as const;
  const second = {
    ...link,
    id: 12,
    name: "cable",
    device: "us-l12",
    carrier: false,
    state: "down",
    reason: "carrier",
    since: "2026-11-20T14:59:00.000Z",
    weight: 0,
    slots: 0,
    sessions: 0,
  } as const;
  const unused = { ...second, id: 13, name: "spare", state: "disabled", reason: "configuration" } as const;
  const unseen = { ...link, id: 14, name: "new", state: "unknown", since: null } as const;
  const nowMs = Date.parse("2026-11-20T15:00:00Z");
  assert.deepEqual(renderLinks([link, second, unused, unseen], { nowMs, style }).split("\n"), [
    "id  link   port        on the active             weight  new sessions  sessions  interface       addresses        gateway",
    " 1  fibre  ok          up for 3 h                     3        75.0 %    15,310  us-l1 on eth1   198.51.100.2/24  198.51.100.1",
    "12  cable  NO CARRIER  down (carrier) for 1 min       0          none         0  us-l12 on eth1  198.51.100.2/24  198.51.100.1",
    "13  spare  NO CARRIER  disabled                       0          none         0  us-l12 on eth1  198.51.100.2/24  198.51.100.1",
    "14  new    ok          not known                      3        75.0 %    15,310  us-l1 on eth1   198.51.100.2/24  198.51.100.1",
    "Whether the Internet is reached through a link is not watched: a dead one keeps its share (operations.md §5).",
    "",
  ]);
  assert.equal(renderLinks([], { nowMs, style }), "No links are configured.\n");
});

const session = {
  protocol: "tcp",
  family: 4,
  source: "10.20.1.7",
  destination: "203.0.113.5",
  sourcePort: 40_000,
  destinationPort: 443,
  translatedSource: "198.51.100.2",
  translatedPort: 40_000,
  link: 1,
  state: "ESTABLISHED",
  timeoutSeconds: 432_000,
} as const;

test("sessions", () => {
  const icmp = {
    ...session,
    protocol: "icmpv6",
    source: "fd20::7",
    destination: "2001:db8::5",
    translatedSource: "2001:db8:1::2",
    link: 0,
    state: "",
    timeoutSeconds: 29,
  } as const;
  const shown = { sessions: [session, icmp], total: 2, truncated: false };
  assert.deepEqual(renderSessions(shown, { style }).split("\n"), [
    "protocol  from             to               link  seen outside as     state        forgotten in",
    "tcp       10.20.1.7:40000  203.0.113.5:443     1  198.51.100.2:40000  ESTABLISHED           5 d",
    "icmpv6    fd20::7          2001:db8::5       own  2001:db8:1::2                            29 s",
    "2 sessions",
    "",
  ]);
});

test("a list that is cut says so", () => {
  const text = renderSessions({ sessions: [session], total: 20_412, truncated: true }, { style });
  assert.match(text, /^1 of 20,412 sessions; narrow it down/m);
  assert.equal(
    renderSessions({ sessions: [], total: 0, truncated: false }, { style }),
    "No session matches.\n",
  );
});

test("ends of a session", () => {
  assert.equal(endText("udp", "fd20::7", 53), "[fd20::7]:53");
  assert.equal(endText("icmp", "10.0.0.1", 99), "10.0.0.1");
});
