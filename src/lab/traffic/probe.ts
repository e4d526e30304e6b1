// One session of a given kind with both its ends: who talks when, what is right, how long it was silent. It knows nothing
// of packets: a channel carries the messages (channels.ts and its neighbours). Pure.

import type { KindName, KindSession } from "../kinds.ts";
import { readUint32, writeUint32 } from "./content.ts";

/** Where a session's two ends are. */
export interface Seat {
  /** Name of the LAN host. */
  readonly host: string;
  readonly nearPid: number;
  readonly near: string;
  readonly farPid: number;
  readonly far: string;
  readonly family: 4 | 6;
  /** Of a call's voice: where both ends listen, and where the far one was told to send it. */
  readonly voice?: {
    readonly nearPort: number;
    readonly farPort: number;
    readonly announced: { readonly address: string; readonly port: number };
  };
  /** Different for each session of a process. */
  readonly seed: number;
}

/** Who says what. The near end is on the LAN, and speaks first, if at all. */
export interface Manner {
  /** `steady`: a message every 20 ms. */
  readonly near: "steady" | "once" | "never";
  readonly answers: boolean;
  /** Whether the far end talks by itself, every 20 ms: from the first contact on, or from when it is woken. */
  readonly talks: "never" | "always" | "woken";
}

/** What carries messages between the ends of one session. */
export interface Channel {
  /** Sends from the near end, or from the far one. */
  near(message: Uint8Array): void;
  far(message: Uint8Array): void;
  /** Things of its own that are due (repetitions); returns when to look again. */
  turn?(now: number): number;
}

/** What a channel says to its probe. */
export interface ChannelEvents {
  /** The near end may speak. */
  ready(): void;
  atNear(message: Uint8Array): void;
  atFar(message: Uint8Array): void;
  fail(why: string): void;
}

/** Arrivals at one end. */
interface Meter {
  lastMs: number;
  stallMs: number;
  firstMs: number;
}

export interface Probe {
  readonly kind: KindName;
  readonly seat: Seat;
  readonly manner: Manner;
  /** The channel delivers in order and without a loss: each message must be the next one. */
  readonly ordered: boolean;
  /** Silence counts from its first packet on, marks notwithstanding: how long it takes to open is what is asked. */
  readonly fromStart: boolean;
  channel: Channel | null;
  readonly near: Meter;
  readonly far: Meter;
  opened: boolean;
  failure: string | null;
  ready: boolean;
  contacted: boolean;
  awake: boolean;
  sentNear: number;
  sentFar: number;
  dueNearMs: number;
  dueFarMs: number;
  sinceMs: number;
}

export const MESSAGE_BYTES = 16;
export const PROBE_INTERVAL_MS = 20;
const MAGIC = 0x6b696e64;
const FROM_NEAR = 1;
const FROM_FAR = 2;
const ANSWER = 3;

export function createProbe(
  kind: KindName,
  seat: Seat,
  manner: Manner,
  options: { readonly ordered: boolean; readonly fromStart: boolean; readonly nowMs: number },
): Probe {
  const meter = (): Meter => ({ lastMs: options.nowMs, stallMs: 0, firstMs: 0 });
  return {
    kind,
    seat,
    manner,
    ordered: options.ordered,
    fromStart: options.fromStart,
    channel: null,
    near: meter(),
    far: meter(),
    opened: false,
    failure: null,
    ready: false,
    contacted: false,
    awake: false,
    sentNear: 0,
    sentFar: 0,
    dueNearMs: options.nowMs,
    dueFarMs: Infinity,
    sinceMs: options.nowMs,
  };
}

/** The ends of a probe, as its channel sees them. `clock` in milliseconds. */
export function eventsOf(probe: Probe, clock: () => number): ChannelEvents {
  const state = { nextNear: 0, nextFar: 0 };
  return {
    ready: () => {
      probe.ready = true;
      const { near } = probe.manner;
      // There is nothing to wait for.
      if (near === "never") probe.opened = true;
      // Phases differ, as people's do.
      const phaseMs = near === "steady" ? (probe.seat.seed * 7) % PROBE_INTERVAL_MS : 0;
      probe.dueNearMs = near === "never" ? Infinity : clock() + phaseMs;
    },
    fail: (why) => {
      probe.failure ??= why;
    },
    atFar: (message) => {
      if (!isRight(probe, message, [FROM_NEAR], probe.sentNear, state.nextFar)) return;
      state.nextFar += 1;
      const now = clock();
      arrive(probe, probe.far, now);
      if (!probe.contacted) {
        probe.contacted = true;
        if (probe.manner.talks === "always") probe.dueFarMs = now;
      }
      if (!answersNearEnd(probe)) probe.opened = true;
      // Who is woken has answered once, and is asked no more.
      if (probe.manner.answers) say(probe, "far", ANSWER);
    },
    atNear: (message) => {
      if (!isRight(probe, message, [FROM_FAR, ANSWER], probe.sentFar, state.nextNear)) return;
      state.nextNear += 1;
      arrive(probe, probe.near, clock());
      probe.opened = true;
    },
  };
}

/** Whether anything comes back before somebody is woken. */
const answersNearEnd = ({ manner }: Probe): boolean => manner.answers || manner.talks === "always";

function isRight(
  probe: Probe,
  message: Uint8Array,
  from: readonly number[],
  sent: number,
  next: number,
): boolean {
  if (probe.failure !== null) return false;
  const right =
    message.length === MESSAGE_BYTES &&
    readUint32(message, 0) === MAGIC &&
    readUint32(message, 4) === probe.seat.seed &&
    from.includes(readUint32(message, 8));
  const number = right ? readUint32(message, 12) : -1;
  if (right && (probe.ordered ? number === next : number < sent)) return true;
  probe.failure = "wrong content";
  return false;
}

/** The silence that ends here counts from the mark on. */
function arrive(probe: Probe, meter: Meter, now: number): void {
  meter.stallMs = Math.max(meter.stallMs, now - Math.max(meter.lastMs, probe.sinceMs));
  meter.lastMs = now;
  if (meter.firstMs === 0) meter.firstMs = now;
}

function say(probe: Probe, end: "near" | "far", what: number): void {
  const message = new Uint8Array(MESSAGE_BYTES);
  writeUint32(message, 0, MAGIC);
  writeUint32(message, 4, probe.seat.seed);
  writeUint32(message, 8, what);
  writeUint32(message, 12, end === "near" ? probe.sentNear : probe.sentFar);
  if (end === "near") probe.sentNear += 1;
  else probe.sentFar += 1;
  probe.channel?.[end](message);
}

/** Says what is due; returns when to look again. */
export function turnProbe(probe: Probe, now: number): number {
  if (probe.failure !== null || probe.channel === null) return Infinity;
  const due = probe.channel.turn?.(now) ?? Infinity;
  if (probe.ready && probe.dueNearMs <= now) {
    say(probe, "near", FROM_NEAR);
    probe.dueNearMs = probe.manner.near === "steady" ? nextDue(probe.dueNearMs, now) : Infinity;
  }
  if (probe.dueFarMs <= now) {
    say(probe, "far", FROM_FAR);
    probe.dueFarMs = nextDue(probe.dueFarMs, now);
  }
  return Math.min(due, probe.ready ? probe.dueNearMs : Infinity, probe.dueFarMs);
}

const nextDue = (dueMs: number, now: number): number =>
  dueMs + PROBE_INTERVAL_MS > now ? dueMs + PROBE_INTERVAL_MS : now + PROBE_INTERVAL_MS;

/** From here on silence counts. */
export function markProbe(probe: Probe, now: number): void {
  if (probe.fromStart) return;
  probe.sinceMs = now;
  for (const meter of [probe.near, probe.far]) Object.assign(meter, { stallMs: 0, firstMs: 0 });
}

/** The far end of one that was to be woken talks from here on, and what counts begins here. */
export function wakeProbe(probe: Probe, now: number): void {
  if (probe.manner.talks !== "woken" || probe.awake) return;
  probe.awake = true;
  probe.dueFarMs = now;
  markProbe(probe, now);
}

/** Both directions count, where both are spoken in; the worse one decides. */
export function reportProbe(probe: Probe, now: number): KindSession {
  const { manner } = probe;
  const meters = [
    ...(manner.answers || manner.talks !== "never" ? [probe.near] : []),
    ...(manner.near === "steady" ? [probe.far] : []),
  ];
  const silent = (meter: Meter): number => now - Math.max(meter.lastMs, probe.sinceMs);
  const moved = (meter: Meter): number => (meter.firstMs === 0 ? 0 : meter.lastMs - meter.firstMs);
  return {
    kind: probe.kind,
    family: probe.seat.family,
    host: probe.seat.host,
    opened: probe.opened,
    failure: probe.failure,
    stallMs: Math.max(...meters.map((meter) => Math.max(meter.stallMs, silent(meter)))),
    silentMs: Math.max(...meters.map(silent)),
    movedMs: Math.min(...meters.map(moved)),
  };
}
