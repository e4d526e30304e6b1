// One session with both its ends, over a channel that is nothing but two functions: who talks when, what is right, and
// which silence counts.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  type Channel,
  createProbe,
  eventsOf,
  type Manner,
  MESSAGE_BYTES,
  markProbe,
  PROBE_INTERVAL_MS,
  type Probe,
  reportProbe,
  type Seat,
  turnProbe,
  wakeProbe,
} from "../../src/lab/traffic/probe.ts";

const SEAT: Seat = {
  host: "h1",
  nearPid: 1,
  near: "10.20.1.1",
  farPid: 2,
  far: "203.0.113.101",
  family: 4,
  seed: 1,
};
const BOTH: Manner = { near: "steady", answers: true, talks: "never" };
const WOKEN: Manner = { near: "once", answers: true, talks: "woken" };

interface Play {
  readonly probe: Probe;
  readonly sent: { near: number; far: number };
  /** Both directions pass, or neither. */
  wire: { near: boolean; far: boolean };
  /** Turns the probe every 10 ms until `ms` later. */
  run(ms: number): void;
  now(): number;
  change: ((message: Uint8Array) => Uint8Array) | null;
}

function play(manner: Manner, options: { ordered?: boolean; fromStart?: boolean } = {}): Play {
  let now = 1000;
  const probe = createProbe("udp-both", SEAT, manner, {
    ordered: options.ordered === true,
    fromStart: options.fromStart === true,
    nowMs: now,
  });
  const events = eventsOf(probe, () => now);
  const own: Play = {
    probe,
    sent: { near: 0, far: 0 },
    wire: { near: true, far: true },
    change: null,
    now: () => now,
    run: (ms) => {
      for (const end = now + ms; now < end; now += 10) turnProbe(probe, now);
    },
  };
  const pass = (message: Uint8Array): Uint8Array => own.change?.(message) ?? message;
  const channel: Channel = {
    near: (message) => {
      own.sent.near += 1;
      if (own.wire.near) events.atFar(pass(message));
    },
    far: (message) => {
      own.sent.far += 1;
      if (own.wire.far) events.atNear(message);
    },
  };
  probe.channel = channel;
  events.ready();
  return own;
}

suite("probe", () => {
  test("both talk: a message each 20 ms, each answered once; no silence longer than that", () => {
    const own = play(BOTH);
    own.run(2000);
    markProbe(own.probe, own.now());
    own.run(1000);
    const { opened, failure, stallMs, movedMs } = reportProbe(own.probe, own.now());
    assert.deepEqual([opened, failure], [true, null]);
    assert.deepEqual([own.sent.near, own.sent.far], [150, 150]);
    assert.ok(stallMs <= PROBE_INTERVAL_MS, String(stallMs));
    assert.equal(movedMs, 980);
  });

  test("silence that ended, and silence that lasts; what was before the mark does not count", () => {
    const own = play(BOTH);
    own.wire.near = false;
    own.run(700);
    own.wire.near = true;
    own.run(500);
    markProbe(own.probe, own.now());
    own.run(100);
    own.wire.far = false;
    own.run(300);
    own.wire.far = true;
    own.run(1000);
    const went = reportProbe(own.probe, own.now());
    assert.ok(went.stallMs >= 300 && went.stallMs <= 340, String(went.stallMs));
    own.wire.near = false;
    own.run(900);
    const silent = reportProbe(own.probe, own.now());
    assert.ok(silent.silentMs >= 900 && silent.stallMs >= silent.silentMs, JSON.stringify(silent));
  });

  test("one direction that is dead is enough, where both are spoken in", () => {
    const own = play(BOTH);
    own.run(1000);
    markProbe(own.probe, own.now());
    own.wire.far = false;
    own.run(1000);
    const { silentMs, movedMs } = reportProbe(own.probe, own.now());
    assert.deepEqual([silentMs >= 980, movedMs], [true, 0]);
  });

  test("who is to be woken is silent until then, and from then on only the far side talks", () => {
    const own = play(WOKEN);
    own.run(5000);
    assert.deepEqual(own.sent, { near: 1, far: 1 });
    assert.equal(reportProbe(own.probe, own.now()).opened, true);
    wakeProbe(own.probe, own.now());
    own.run(1000);
    assert.deepEqual(own.sent, { near: 1, far: 51 });
    const { stallMs, silentMs } = reportProbe(own.probe, own.now());
    assert.ok(stallMs <= 20 && silentMs <= 20);
    // A second order changes nothing.
    const { sinceMs } = own.probe;
    wakeProbe(own.probe, own.now());
    assert.equal(own.probe.sinceMs, sinceMs);
  });

  test("only the near side talks: what arrives at the far end counts, and nothing has to come back", () => {
    const own = play({ near: "steady", answers: false, talks: "never" });
    own.wire.far = false;
    own.run(1000);
    const { opened, stallMs } = reportProbe(own.probe, own.now());
    assert.deepEqual([opened, own.sent.far, stallMs <= 20], [true, 0, true]);
  });

  test("opened only with an answer, where there is to be one", () => {
    const own = play(BOTH);
    own.wire.far = false;
    own.run(200);
    assert.equal(own.probe.opened, false);
  });

  test("a session that is slow to open: silence counts from its first packet, whatever is marked", () => {
    const own = play(BOTH, { fromStart: true });
    own.wire.near = false;
    own.run(1000);
    markProbe(own.probe, own.now());
    own.wire.near = true;
    own.run(1500);
    assert.ok(reportProbe(own.probe, own.now()).stallMs >= 1000);
  });

  test("wrong, foreign and shortened messages are a failure", () => {
    for (let at = 0; at < MESSAGE_BYTES; at += 1) {
      const own = play(BOTH);
      own.run(100);
      own.change = (message) => {
        message[at] = message[at]! ^ 0x40;
        return message;
      };
      own.run(100);
      assert.equal(own.probe.failure, "wrong content", `byte ${at}`);
    }
    const own = play(BOTH);
    own.change = (message) => message.subarray(1);
    own.run(100);
    assert.equal(own.probe.failure, "wrong content");
  });

  test("where the channel is ordered a message that is left out is a failure, else it is silence", () => {
    for (const ordered of [false, true]) {
      const own = play(BOTH, { ordered });
      own.run(100);
      own.wire.near = false;
      own.run(100);
      own.wire.near = true;
      own.run(100);
      assert.equal(own.probe.failure, ordered ? "wrong content" : null);
    }
  });
});
