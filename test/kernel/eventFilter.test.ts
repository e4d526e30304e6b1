// The event socket's packet filter against the model of the policy: generated messages, judged by the kernel's own
// filter machine behind a datagram socket of this process. And real sessions: what a filtered socket makes of them is
// what an unfiltered one makes, with fewer messages read.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, describe, test } from "node:test";
import fc from "fast-check";
import { eventFilter, portFilter } from "../../src/kernel/eventFilter.ts";
import {
  attachFilter,
  bind,
  close,
  errno,
  getsockname,
  MSG_DONTWAIT,
  recv,
  SOCK_DGRAM,
  sendto,
  socket,
} from "../../src/kernel/libc.ts";
import { openSessionEvents } from "../../src/kernel/sessionEvents.ts";
import {
  CTA_IP_V4_DST,
  CTA_IP_V4_SRC,
  CTA_IP_V6_DST,
  CTA_IP_V6_SRC,
  CTA_LABELS,
  CTA_MARK,
  CTA_PROTO_DST_PORT,
  CTA_PROTO_ICMP_ID,
  CTA_PROTO_NUM,
  CTA_PROTO_SRC_PORT,
  CTA_PROTOINFO,
  CTA_PROTOINFO_SCTP,
  CTA_PROTOINFO_TCP,
  CTA_STATUS,
  CTA_TIMEOUT,
  CTA_TUPLE_IP,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_PROTO,
  CTA_TUPLE_REPLY,
} from "../../src/wire/conntrack.ts";
import { MessageWriter } from "../../src/wire/netlink.ts";
import { RecordBatch } from "../../src/wire/session.ts";
import { DEFAULT_SENDING, type SendingPolicy, SessionPolicy } from "../../src/wire/sessionPolicy.ts";
import { anyPolicy, anySeen, endOf, type Seen, wordOf } from "../wire/policyModel.ts";
import { inNamespace } from "./namespace.ts";
import { acceptTcp, exchangeUdp, listenTcp, makeWorld, openTcp, ping, reset, say } from "./sessionWorld.ts";

const AF_UNIX = 1;
const [NEW, DELETE] = [0, 2];
const CTNETLINK = 1 << 8;

/** A socket that a filter guards, and a way to send to it. Says what passes. */
class Gatekeeper {
  readonly #fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  readonly #address: Uint8Array;
  readonly #buffer = new Uint8Array(4096);

  constructor() {
    // An address of the kernel's choosing (unix(7), autobind).
    bind(this.#fd, Uint8Array.of(AF_UNIX, 0));
    const name = new Uint8Array(110);
    this.#address = name.slice(0, getsockname(this.#fd, name));
  }

  guard(program: ReturnType<typeof eventFilter>): void {
    attachFilter(this.#fd, program, "guard");
  }

  passes(message: Uint8Array): boolean {
    assert.equal(sendto(this.#fd, message, message.length, 0, this.#address), message.length);
    const length = recv(this.#fd, this.#buffer, MSG_DONTWAIT);
    if (length === -errno.EAGAIN!) return false;
    assert.deepEqual(this.#buffer.subarray(0, length), message);
    return true;
  }

  close(): void {
    close(this.#fd);
  }
}

/** One event as ctnetlink words it; `told` puts the protocol's state in, `filler` what the filter is not about. */
function eventOf(type: number, seen: Seen, filler: boolean): Uint8Array {
  const message = new MessageWriter(CTNETLINK | type).fixed(
    Uint8Array.of(seen.family === 4 ? 2 : 10, 0, 0, 0),
  );
  const [source, destination] =
    seen.family === 4 ? [CTA_IP_V4_SRC, CTA_IP_V4_DST] : [CTA_IP_V6_SRC, CTA_IP_V6_DST];
  const ports = [6, 17, 47, 132, 136].includes(seen.protocol);
  const tuple = (which: number, from: Uint8Array, to: Uint8Array, toPort: number): void => {
    message.nested(which, (outer) => {
      outer.nested(CTA_TUPLE_IP, (inner) => inner.attribute(source, from).attribute(destination, to));
      outer.nested(CTA_TUPLE_PROTO, (inner) => {
        inner.u8(CTA_PROTO_NUM, seen.protocol);
        if (ports) inner.be16(CTA_PROTO_SRC_PORT, 53).be16(CTA_PROTO_DST_PORT, toPort);
        else inner.be16(CTA_PROTO_ICMP_ID, 53);
      });
    });
  };
  tuple(CTA_TUPLE_ORIG, seen.source, seen.destination, seen.destinationPort);
  // The reply tuple must not be taken for the original one: all its numbers are other ones.
  tuple(
    CTA_TUPLE_REPLY,
    seen.destination.map((byte) => ~byte),
    seen.source.map((byte) => ~byte),
    443,
  );
  message.be32(CTA_STATUS, 0x1b8 | (seen.replied ? 2 : 0) | (seen.assured ? 4 : 0) | (seen.expected ? 1 : 0));
  if (filler) message.be32(CTA_TIMEOUT, 600);
  if (seen.state !== 0)
    message.nested(CTA_PROTOINFO, (outer) =>
      outer.nested(seen.protocol === 132 ? CTA_PROTOINFO_SCTP : CTA_PROTOINFO_TCP, (inner) => {
        inner.u8(1, seen.state);
        if (filler) inner.u8(2, 7).u8(3, 7);
      }),
    );
  if (filler) message.attribute(CTA_LABELS, new Uint8Array(16).fill(8));
  // The kernel leaves a mark of 0 out.
  if (seen.mark !== 0) message.be32(CTA_MARK, seen.mark);
  return message.finish();
}

/** Only TCP and SCTP have a state. */
const plausible = (seen: Seen): Seen => ([6, 132].includes(seen.protocol) ? seen : { ...seen, state: 0 });

describe("the filter in the kernel's machine", () => {
  const gatekeeper = new Gatekeeper();
  after(() => gatekeeper.close());

  test("any policy, any event: kept if and only if the model makes a record of it", () => {
    let [kept, dropped] = [0, 0];
    fc.assert(
      fc.property(
        anyPolicy,
        fc.array(anySeen, { minLength: 20, maxLength: 20 }),
        fc.boolean(),
        (sending, all, filler) => {
          gatekeeper.guard(eventFilter(sending, []));
          for (const seen of all.map(plausible)) {
            const began = gatekeeper.passes(eventOf(NEW, seen, filler));
            assert.equal(began, wordOf(sending, seen) !== null, JSON.stringify({ sending, seen }));
            assert.equal(gatekeeper.passes(eventOf(DELETE, seen, filler)), endOf(sending, seen), "its end");
            if (began) kept += 1;
            else dropped += 1;
          }
        },
      ),
      { numRuns: 500 },
    );
    // A filter that always says the same has not been tried.
    assert.ok(kept > 1000 && dropped > 1000, `${kept} kept, ${dropped} dropped`);
  });

  test("every state of every class, one by one", () => {
    for (const tcp of ["opening", "syn-received", "established"] as const)
      for (const udp of ["first-packet", "reply", "assured"] as const) {
        const sending: SendingPolicy = { tcp, udp, others: "reply", except: [] };
        gatekeeper.guard(eventFilter(sending, []));
        for (const protocol of [6, 132, 17, 1])
          for (let state = 0; state < (protocol === 6 || protocol === 132 ? 16 : 1); state += 1)
            for (const [replied, assured] of [
              [false, false],
              [true, false],
              [true, true],
              [false, true],
            ] as const) {
              const seen: Seen = {
                family: 4,
                protocol,
                source: Uint8Array.of(10, 0, 0, 1),
                destination: Uint8Array.of(10, 0, 0, 2),
                destinationPort: 80,
                mark: 3,
                state,
                replied,
                assured,
                expected: false,
              };
              assert.equal(gatekeeper.passes(eventOf(NEW, seen, true)), wordOf(sending, seen) !== null);
              assert.equal(gatekeeper.passes(eventOf(DELETE, seen, true)), endOf(sending, seen));
            }
      }
  });

  test("what sockets of ours caused is dropped, whatever it is; what others caused is judged", () => {
    const seen: Seen = {
      family: 6,
      protocol: 17,
      source: new Uint8Array(16).fill(1),
      destination: new Uint8Array(16).fill(2),
      destinationPort: 4500,
      mark: 3,
      state: 0,
      replied: true,
      assured: false,
      expected: false,
    };
    const from = (portId: number, mark: number): Uint8Array => {
      const message = eventOf(NEW, { ...seen, mark }, true);
      // nlmsg_pid, in host order.
      new Uint32Array(message.buffer, message.byteOffset, 4)[3] = portId;
      return message;
    };
    const ours = [0x12345678, 7, 0xfffffffe];
    gatekeeper.guard(eventFilter(DEFAULT_SENDING, ours));
    for (const portId of ours) assert.equal(gatekeeper.passes(from(portId, 3)), false);
    for (const portId of [0, 8, 0x78563412]) {
      assert.equal(gatekeeper.passes(from(portId, 3)), true);
      assert.equal(gatekeeper.passes(from(portId, 0)), false);
    }
    gatekeeper.guard(portFilter(ours));
    assert.deepEqual(
      [7, 8].map((portId) => gatekeeper.passes(from(portId, 0))),
      [false, true],
    );
  });

  test("other subsystems pass, and so does what is not understood of connection tracking's kinds", () => {
    gatekeeper.guard(eventFilter(DEFAULT_SENDING, []));
    const expectation = new MessageWriter(2 << 8).fixed(Uint8Array.of(2, 0, 0, 0)).finish();
    assert.equal(gatekeeper.passes(expectation), true);
    // A message of ours that is neither beginning nor end makes no record.
    const statistics = new MessageWriter(CTNETLINK | 5)
      .fixed(Uint8Array.of(2, 0, 0, 0))
      .be32(CTA_MARK, 3)
      .finish();
    assert.equal(gatekeeper.passes(statistics), false);
  });

  test("the longest policy that a configuration can hold is taken", () => {
    const network = { family: 6, address: "2001:db8::", prefixLength: 127 } as const;
    const except = Array.from({ length: 32 }, (_, port) => ({ protocol: 17, port: port + 1, network }));
    gatekeeper.guard(eventFilter({ ...DEFAULT_SENDING, except }, [1, 2, 3, 4]));
  });
});

describe("real sessions", inNamespace, () => {
  const policies: readonly (readonly [string, SendingPolicy])[] = [
    ["the default", DEFAULT_SENDING],
    ["everything", { tcp: "opening", udp: "first-packet", others: "first-packet", except: [] }],
    [
      "little",
      {
        tcp: "established",
        udp: "assured",
        others: "reply",
        except: [{ protocol: 6, port: 81 }, { network: { family: 6, address: "fd09::", prefixLength: 64 } }],
      },
    ],
  ];
  for (const [name, sending] of policies)
    test(`${name}: a filtered socket makes the records of an unfiltered one`, () => {
      const world = makeWorld({ translate: true });
      const policy = new SessionPolicy(sending);
      const [bare, filtered] = world.active.run(() => [
        openSessionEvents({ policy, filter: false }),
        openSessionEvents({ policy }),
      ]);
      const listeners = [80, 81].map((port) => listenTcp(world, "192.0.2.2", port));
      listeners.push(listenTcp(world, "2001:db8::2", 443));
      const conntrack = (...words: string[]): string =>
        world.active.run(() => execFileSync("conntrack", words, { encoding: "utf8", stdio: "pipe" }));
      for (const [port, listener, fromPort] of [
        [80, listeners[0]!, 41001],
        [81, listeners[1]!, 41002],
      ] as const) {
        const client = openTcp(world, "10.9.0.2", fromPort, "192.0.2.2", port);
        const server = acceptTcp(listener);
        say(client, server, "hello");
        if (port === 80) reset(client);
        else close(client);
        close(server);
      }
      const six = openTcp(world, "fd09::2", 41003, "2001:db8::2", 443);
      exchangeUdp(world, ["10.9.0.2", 41004], ["192.0.2.2", 53], 2);
      exchangeUdp(world, ["fd09::2", 41005], ["2001:db8::2", 4500], 1);
      ping(world, "10.9.0.2", "192.0.2.2", 77);
      // Nobody listens there: refused, and unanswered.
      assert.throws(() => openTcp(world, "10.9.0.2", 41006, "192.0.2.2", 9), /ECONNREFUSED|refused/);
      // The router's own: no link.
      conntrack(
        "-I",
        "-p",
        "udp",
        "-s",
        "1.1.1.1",
        "-d",
        "2.2.2.2",
        "--sport",
        "1",
        "--dport",
        "2",
        "-t",
        "60",
      );
      conntrack("-D");
      reset(six);
      const [plain, sieved] = [bare, filtered].map((events) => {
        const batch = new RecordBatch();
        const { overrun, events: read } = events.drain(batch);
        assert.equal(overrun, false);
        events.close();
        return { read, records: Buffer.from(batch.records()).toString("hex"), count: batch.count };
      });
      assert.equal(sieved!.records, plain!.records);
      // Nothing is read in vain but what the filter cannot know.
      assert.equal(sieved!.read, sieved!.count);
      assert.ok(sieved!.read < plain!.read, `${sieved!.read} of ${plain!.read} events read`);
      assert.ok(sieved!.count > 3);
      for (const fd of listeners) close(fd);
      world.close();
    });
});
