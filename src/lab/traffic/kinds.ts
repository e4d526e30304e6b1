// A traffic process: one session and more of every kind, both ends of each. It reports what it saw; what that is worth
// is decided in ../kinds.ts.

import * as libc from "../../kernel/libc.ts";
import { nowMs } from "../clock.ts";
import type { KindName } from "../kinds.ts";
import { type OpenChannel, overIcmp, overIp, overTcp, overUdp } from "./channels.ts";
import { overFtp } from "./ftpChannel.ts";
import {
  createProbe,
  eventsOf,
  type Manner,
  markProbe,
  type Probe,
  reportProbe,
  type Seat,
  turnProbe,
  wakeProbe,
} from "./probe.ts";
import { createReactor, type Order } from "./reactor.ts";
import { overRtp } from "./rtpChannel.ts";
import { overSctp } from "./sctpChannel.ts";
import { overTftp } from "./tftpChannel.ts";

interface Open extends Order {
  readonly kind: "open";
  readonly sessions: readonly { readonly kind: KindName; readonly seat: Seat }[];
}

const BOTH: Manner = { near: "steady", answers: true, talks: "never" };
const DOWNLOAD: Manner = { near: "once", answers: false, talks: "always" };
const WOKEN: Manner = { near: "once", answers: true, talks: "woken" };
/** GRE (RFC 2784) without options, and an EtherType for experiments (IEEE 802). */
const GRE_HEAD = [0, 0, 0x88, 0xb5];
/** A security parameter index and a sequence number; the rest would be cipher text. */
const ESP_HEAD = [0, 0, 0x10, 0x01, 0, 0, 0, 1];

const WAYS: Readonly<
  Record<KindName, { readonly open: OpenChannel; readonly manner: Manner; readonly ordered?: true }>
> = {
  "tcp-echo": { open: overTcp, manner: BOTH, ordered: true },
  "tcp-download": { open: overTcp, manner: DOWNLOAD, ordered: true },
  "tcp-idle": { open: overTcp, manner: WOKEN, ordered: true },
  "tcp-syn-sent": { open: overTcp, manner: BOTH, ordered: true },
  "tcp-syn-received": { open: overTcp, manner: BOTH, ordered: true },
  "udp-both": { open: overUdp(17), manner: BOTH },
  "udp-fresh": { open: overUdp(17), manner: WOKEN },
  "udp-upload": { open: overUdp(17), manner: { near: "steady", answers: false, talks: "never" } },
  "udp-download": { open: overUdp(17), manner: DOWNLOAD },
  "udp-unanswered": { open: overUdp(17), manner: { near: "once", answers: false, talks: "woken" } },
  udplite: { open: overUdp(136), manner: BOTH },
  icmp: { open: overIcmp, manner: BOTH },
  sctp: { open: overSctp, manner: BOTH },
  gre: { open: overIp(47, GRE_HEAD), manner: BOTH },
  esp: { open: overIp(50, ESP_HEAD), manner: BOTH },
  "ip-253": { open: overIp(253, []), manner: BOTH },
  "ftp-control": { open: overFtp("control"), manner: BOTH, ordered: true },
  "ftp-data": { open: overFtp("data"), manner: DOWNLOAD, ordered: true },
  "ftp-expected": { open: overFtp("expected"), manner: WOKEN, ordered: true },
  "ftp-after": { open: overFtp("after"), manner: WOKEN, ordered: true },
  tftp: { open: overTftp, manner: DOWNLOAD },
  voice: { open: overRtp, manner: { near: "steady", answers: false, talks: "always" } },
  "voice-expected": { open: overRtp, manner: { near: "never", answers: false, talks: "woken" } },
};
/** They open after the fault, or not at all: nobody waits for them. */
const OPENING: readonly KindName[] = ["tcp-syn-sent", "tcp-syn-received"];
const OPEN_TIMEOUT_MS = 5000;

const reactor = createReactor(onOrder);
const probes: Probe[] = [];
/** Kinds that this kernel cannot make. */
let missing: { readonly kind: KindName; readonly family: 4 | 6; readonly why: string }[] = [];
let opening: { readonly order: Order; readonly probes: readonly Probe[]; readonly endMs: number } | null =
  null;

function onOrder(order: Order): void {
  const now = nowMs();
  if (order.kind === "open") {
    missing = [];
    const opened = (order as Open).sessions.flatMap(({ kind, seat }) => open(kind, seat));
    opening = { order, probes: opened, endMs: now + OPEN_TIMEOUT_MS };
  } else if (order.kind === "mark") {
    for (const probe of probes) markProbe(probe, now);
    reactor.answer(order.id, { atMs: now });
  } else if (order.kind === "wake") {
    for (const probe of probes) wakeProbe(probe, now);
    reactor.answer(order.id, { atMs: now });
  } else if (order.kind === "report")
    reactor.answer(order.id, { sessions: probes.map((probe) => reportProbe(probe, now)) });
}

function open(kind: KindName, seat: Seat): readonly Probe[] {
  const way = WAYS[kind];
  const probe = createProbe(kind, seat, way.manner, {
    ordered: way.ordered === true,
    fromStart: OPENING.includes(kind),
    nowMs: nowMs(),
  });
  const events = eventsOf(probe, nowMs);
  try {
    probe.channel = way.open({ kind, seat, reactor, events, clock: nowMs });
  } catch (error) {
    if (!(error instanceof libc.KernelError) || error.errno !== libc.errno.EPROTONOSUPPORT) throw error;
    missing.push({ kind, family: seat.family, why: error.message });
    return [];
  }
  probes.push(probe);
  return [probe];
}

/** Answers the order to open once all of its sessions are there, or have failed, or time is over. */
function turnOpening(now: number): number {
  if (opening === null) return Infinity;
  const waiting = opening.probes.filter(
    ({ kind, opened, failure }) => !OPENING.includes(kind) && !opened && failure === null,
  );
  if (waiting.length > 0 && now < opening.endMs) return now + 10;
  const failures = opening.probes
    .filter((probe) => probe.failure !== null || waiting.includes(probe))
    .map(({ kind, seat, failure }) => `${kind} from ${seat.near}: ${failure ?? "no answer"}`);
  reactor.answer(opening.order.id, { missing, failures });
  opening = null;
  return Infinity;
}

reactor.run((now) => {
  let next = turnOpening(now);
  for (const probe of probes) next = Math.min(next, turnProbe(probe, now));
  return Math.max(next, now + 1);
});
