// Requests on the control socket: each good one is taken as it is, each bad one names its key.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readDaemonRequest } from "../../src/wire/controlRequests.ts";

const sessions = { kind: "show", request: 3, what: "sessions", limit: 10, filter: {} };
const text = { kind: "text", file: "pair.yaml", text: "version: 1\n" };
const apply = {
  kind: "apply",
  request: 4,
  source: text,
  author: "eve",
  message: "why",
  replace: false,
  base: null,
};
const kinds = "show, handover, drill, restart, stop, apply, configuration, versions or record";
const order = { file: "/tmp/log", what: "frames", seconds: 60, megabytes: 64, reconnect: false };

for (const request of [
  { kind: "show", request: 1, what: "pair" },
  { kind: "show", request: 0, what: "links" },
  sessions,
  { ...sessions, filter: { link: 0, protocol: "tcp", address: "fd20::1", port: 443, family: 6 } },
  { kind: "handover", request: 9 },
  { kind: "restart", request: 9, what: "daemon" },
  { kind: "restart", request: 9, what: "heart" },
  { kind: "stop", request: 9 },
  apply,
  { ...apply, source: { kind: "version", version: "7" }, base: "1f0c2a9b", replace: true },
  { ...apply, source: { kind: "peer" } },
  { ...apply, source: { kind: "in-force" } },
  { kind: "configuration", request: 9, of: "own", version: null },
  { kind: "configuration", request: 9, of: "peer", version: "12" },
  { kind: "versions", request: 9, limit: 500 },
  { kind: "record", request: 9, order },
  { kind: "record", request: 9, order: { ...order, what: "keys", reconnect: true } },
  { kind: "record", request: 9, order: null },
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
  [{ kind: "toString", request: 1 }, 1, `kind: expected ${kinds}`],
  [{ kind: "stop", request: 1, force: true }, 1, "force: not a key of stop"],
  [{ kind: "show", request: 1, what: "all" }, 1, "what: expected pair, links, alarms, readiness or sessions"],
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
  [{ ...apply, source: "pair.yaml" }, 4, "source: expected one of text, version, peer, in-force"],
  [{ ...apply, source: { kind: "toString" } }, 4, "source: expected one of text, version, peer, in-force"],
  [{ ...apply, source: { ...text, text: 1 } }, 4, "source.text: expected text"],
  [{ ...apply, source: { ...text, mode: 1 } }, 4, "source.mode: not a key of text"],
  [
    { ...apply, source: { kind: "version", version: "../x" } },
    4,
    "source.version: expected a version's number or id",
  ],
  [{ ...apply, author: "x".repeat(129) }, 4, "author: expected a name"],
  [{ ...apply, replace: 1 }, 4, "replace: expected true or false"],
  [{ ...apply, base: 7 }, 4, "base: expected a version's number or id, or null"],
  [{ ...apply, force: true }, 4, "force: not a key of apply"],
  [{ kind: "configuration", request: 5, of: "both", version: null }, 5, "of: expected own or peer"],
  [{ kind: "versions", request: 5, limit: 501 }, 5, "limit: expected 1 to 500"],
  [{ kind: "record", request: 5 }, 5, "order: expected an object, or null"],
  [
    { kind: "record", request: 5, order: { ...order, file: "log" } },
    5,
    "order.file: expected an absolute path",
  ],
  [
    { kind: "record", request: 5, order: { ...order, file: `/${"x".repeat(5000)}` } },
    5,
    "order.file: expected an absolute path",
  ],
  [
    { kind: "record", request: 5, order: { ...order, what: "all" } },
    5,
    "order.what: expected frames or keys",
  ],
  [{ kind: "record", request: 5, order: { ...order, seconds: 0 } }, 5, "order.seconds: expected 1 to 86400"],
  [
    { kind: "record", request: 5, order: { ...order, megabytes: 2000 } },
    5,
    "order.megabytes: expected 1 to 1024",
  ],
  [{ kind: "record", request: 5, order: { ...order, extra: 1 } }, 5, "order.extra: not a key of a recording"],
] as const) {
  test(`refused: ${JSON.stringify(value)}`, () => {
    assert.deepEqual(readDaemonRequest(value), { ok: false, number, reason });
  });
}
