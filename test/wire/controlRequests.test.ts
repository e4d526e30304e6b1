// Requests on the control socket: each good one is taken as it is, each bad one names its key.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readDaemonRequest } from "../../src/wire/controlRequests.ts";

const sessions = { kind: "show", request: 3, what: "sessions", limit: 10, filter: {} };

for (const request of [
  { kind: "show", request: 1, what: "pair" },
  { kind: "show", request: 0, what: "links" },
  sessions,
  { ...sessions, filter: { link: 0, protocol: "tcp", address: "fd20::1", port: 443, family: 6 } },
  { kind: "handover", request: 9 },
  { kind: "restart", request: 9, what: "daemon" },
  { kind: "restart", request: 9, what: "heart" },
  { kind: "stop", request: 9 },
]) {
  test(`taken: ${JSON.stringify(request)}`, () => {
    assert.deepEqual(readDaemonRequest(request), { ok: true, request });
  });
}

for (const [value, number, reason] of [
  [null, 0, "expected a JSON object"],
  [[], 0, "expected a JSON object"],
  [{ kind: "stop" }, 0, "request: expected a whole number"],
  [{ kind: "restart", request: 1 }, 1, "what: expected daemon or heart"],
  [{ kind: "stop", request: 1.5 }, 0, "request: expected a whole number"],
  [{ kind: "toString", request: 1 }, 1, "kind: expected show, handover, restart or stop"],
  [{ kind: "stop", request: 1, force: true }, 1, "force: not a key of stop"],
  [{ kind: "show", request: 1, what: "all" }, 1, "what: expected pair, links, alarms or sessions"],
  [{ kind: "show", request: 1, what: "pair", limit: 1 }, 1, "filter and limit belong to sessions"],
  [{ ...sessions, limit: 0 }, 3, "limit: expected 1 to 600"],
  [{ ...sessions, limit: 601 }, 3, "limit: expected 1 to 600"],
  [{ ...sessions, filter: [] }, 3, "filter: expected an object"],
  [{ ...sessions, filter: { link: 251 } }, 3, "filter.link: expected a link id, 0 to 250"],
  [{ ...sessions, filter: { address: "; rm" } }, 3, "filter.address: expected an address"],
  [{ ...sessions, filter: { port: -1 } }, 3, "filter.port: expected a port, 0 to 65535"],
  [{ ...sessions, filter: { family: 5 } }, 3, "filter.family: expected 4 or 6"],
  [{ ...sessions, filter: { protocol: "TCP " } }, 3, "filter.protocol: expected a protocol's name"],
  [{ ...sessions, filter: { constructor: 1 } }, 3, "filter.constructor: not a key of a session filter"],
] as const) {
  test(`refused: ${JSON.stringify(value)}`, () => {
    assert.deepEqual(readDaemonRequest(value), { ok: false, number, reason });
  });
}
