// The configuration between the two nodes (docs/protocol.md §5.7): one version is in force on both, or each says what the other
// has. A new one is judged by both before either changes anything, is on both disks before either takes it into effect, and is
// taken into effect by the follower first; in force it is when the leader says so. Whoever is merely behind is brought up to
// date; what one node has and the other never heard of is told, and never guessed about. A machine: inputs in, effects out,
// one thing at a time; it touches no disk and no kernel. Pure.

import { unreachable } from "../base/assert.ts";
import { CONFIGURATION_EFFECT_MS_MAX, CONFIGURATION_RETRY_MS } from "../base/limits.ts";
import { type NodeId, Role } from "../base/units.ts";
import type { MessageOf } from "../wire/peer.ts";
import * as lead from "./configLogLead.ts";
import {
  type ConfigEffect,
  type ConfigInput,
  type ConfigLogState,
  type ConfigMessage,
  type FollowJob,
  follows,
  keep,
  leads,
  reject,
  remember,
  speaks,
  stateMessage,
} from "./configLogState.ts";
import { gapOf, type History, nameOf, type Start } from "./configVersions.ts";

/** The machine of `node` as it starts with what its disk says (`startOf`). */
export function createConfigLog(node: NodeId, start: Start, history: History): ConfigLogState {
  return {
    node,
    role: Role.Idle,
    peerActive: false,
    peer: null,
    head: start.head,
    tentative: start.tentative,
    history: new Map([...history, [start.head.id, start.head]]),
    job: null,
    stuck: null,
    rejection: null,
    exchange: 0,
    said: null,
    asked: new Set(),
    counters: {
      applied: 0,
      refused: 0,
      failed: 0,
      followed: 0,
      refusedByPeer: 0,
      reverted: 0,
      adopted: 0,
      late: 0,
    },
  };
}

/** One input: what follows from it is appended to `effects`, in order. */
export function step(
  state: ConfigLogState,
  nowMs: number,
  input: ConfigInput,
  effects: ConfigEffect[],
): void {
  take(state, nowMs, input, effects);
  if (input.kind === "role" || input.kind === "peer-role") lead.onRoleChange(state, effects);
  settle(state, nowMs, effects);
}

/** When `step` is to be called with `tick` though nothing happened; null: nothing is waited for. */
export function deadline(state: ConfigLogState): number | null {
  const times = [state.job?.deadlineMs, state.rejection?.retryMs, state.stuck?.retryMs].filter(
    (time) => time !== undefined && time !== Number.POSITIVE_INFINITY,
  ) as number[];
  return times.length === 0 ? null : Math.min(...times);
}

function take(state: ConfigLogState, nowMs: number, input: ConfigInput, effects: ConfigEffect[]): void {
  switch (input.kind) {
    case "role":
      state.role = input.role;
      state.peerActive = input.peerActive;
      return;
    case "peer-role":
      if (state.peer !== null) state.peer.role = input.role;
      return;
    case "up":
      state.peer = { version: input.version, role: input.role, running: input.running, state: null };
      state.said = null;
      state.rejection = null;
      state.asked.clear();
      return;
    case "down":
      state.peer = null;
      state.rejection = null;
      onDown(state, nowMs, effects);
      return;
    case "message":
      if (speaks(state)) onMessage(state, nowMs, input.message, effects);
      return;
    case "apply":
      lead.apply(state, nowMs, input, effects);
      return;
    case "prepared":
      onPrepared(state, nowMs, input.id, input.reasons, effects);
      return;
    case "effected":
      onEffected(state, nowMs, input, effects);
      return;
    case "tick":
      onTick(state, nowMs, effects);
      return;
    default:
      unreachable(input);
  }
}

function onMessage(
  state: ConfigLogState,
  nowMs: number,
  message: ConfigMessage,
  effects: ConfigEffect[],
): void {
  switch (message.kind) {
    case "configurationState":
      state.peer!.state = message;
      state.peer!.running = message.running;
      lead.onState(state, nowMs, effects);
      return;
    case "configurationPropose":
      onPropose(state, nowMs, message, effects);
      return;
    case "configurationVerdict":
      lead.onVerdict(state, nowMs, message, effects);
      return;
    case "configurationCommit":
      onCommit(state, message.exchange, effects);
      return;
    case "configurationDone":
      lead.onDone(state, nowMs, message, effects);
      return;
    case "configurationFetch":
      effects.push({ kind: "give", id: message.id });
      return;
    case "configurationVersion":
      onVersion(state, nowMs, message, effects);
      return;
    default:
      unreachable(message);
  }
}

/** The leader's connection is gone: what was only promised is void, what is in effect waits for its word. */
function onDown(state: ConfigLogState, nowMs: number, effects: ConfigEffect[]): void {
  const { job } = state;
  if (job?.kind === "lead") lead.onDown(state, nowMs, job, effects);
  else if (job?.kind === "follow" && job.stage === "promised") giveUp(state, effects);
  else if (job?.kind === "adopt" && job.stage === "fetching") state.job = null;
}

/** Nothing was changed yet, and nothing will be. */
function giveUp(state: ConfigLogState, effects: ConfigEffect[]): void {
  const isInEffect = state.job?.version.id === state.tentative?.id;
  state.job = null;
  if (!isInEffect) effects.push({ kind: "drop" });
}

function onTick(state: ConfigLogState, nowMs: number, effects: ConfigEffect[]): void {
  if (state.rejection !== null && state.rejection.retryMs <= nowMs) {
    const { version } = state.rejection;
    state.rejection = null;
    effects.push({ kind: "log", line: `configuration: version ${version.slice(0, 8)} is tried again` });
  }
  if (state.stuck !== null && state.stuck.retryMs <= nowMs) state.stuck = null;
  const { job } = state;
  if (job === null || job.deadlineMs > nowMs) return;
  state.counters.late += 1;
  if (job.kind === "lead") lead.onLate(state, job, effects);
  else if (job.kind === "follow") giveUp(state, effects);
  else state.job = null;
}

/** Why this node does not even look at a proposal; null where it does. */
function proposalFault(
  state: ConfigLogState,
  { from, header }: MessageOf<"configurationPropose">,
): string | null {
  const { head, tentative, job, stuck } = state;
  if (!follows(state)) return "this node does not follow";
  if (job !== null) return `this node is busy with ${nameOf(job.version)}`;
  if (tentative !== null && header.id !== tentative.id)
    return `${nameOf(tentative)} is in effect here, ${stuck === null ? "and waits for a word on it" : `and the way back failed: ${stuck.words}`}`;
  // A leader that has not heard yet how its last order ended may give the next one: it was made from that.
  if ([header.id, header.parent, from].includes(head.id)) return null;
  return `meanwhile this node has another version in force, ${nameOf(head)}`;
}

function onPropose(
  state: ConfigLogState,
  nowMs: number,
  message: MessageOf<"configurationPropose">,
  effects: ConfigEffect[],
): void {
  const { exchange, header, content } = message;
  const fault = proposalFault(state, message);
  if (fault !== null) {
    effects.push(verdict(exchange, [fault]));
    return;
  }
  const job: FollowJob = {
    kind: "follow",
    exchange,
    version: header,
    stage: "storing",
    deadlineMs: Number.POSITIVE_INFINITY,
  };
  state.job = job;
  // What it has already was judged already.
  if (header.id === state.head.id || header.id === state.tentative?.id) promise(state, nowMs, job, effects);
  else effects.push({ kind: "prepare", header, content, judge: true });
}

const verdict = (exchange: number, reasons: readonly string[]): ConfigEffect => ({
  kind: "send",
  message: { kind: "configurationVerdict", exchange, accepted: reasons.length === 0, reasons },
});

const done = (exchange: number, ok: boolean, reasons: readonly string[]): ConfigEffect => ({
  kind: "send",
  message: { kind: "configurationDone", exchange, ok, reasons },
});

function promise(state: ConfigLogState, nowMs: number, job: FollowJob, effects: ConfigEffect[]): void {
  job.stage = "promised";
  job.deadlineMs = nowMs + CONFIGURATION_EFFECT_MS_MAX;
  if (!follows(state)) giveUp(state, effects);
  else effects.push(verdict(job.exchange, []));
}

function onPrepared(
  state: ConfigLogState,
  nowMs: number,
  id: string,
  reasons: readonly string[],
  effects: ConfigEffect[],
): void {
  const { job } = state;
  if (job === null || job.version.id !== id || job.stage !== "storing") return;
  if (job.kind === "lead") lead.onPrepared(state, nowMs, job, reasons, effects);
  else if (job.kind === "follow" && reasons.length === 0) promise(state, nowMs, job, effects);
  else if (job.kind === "follow") {
    state.job = null;
    state.counters.refused += 1;
    if (state.peer !== null) effects.push(verdict(job.exchange, reasons));
  } else if (reasons.length === 0) {
    job.stage = "own-effect";
    job.deadlineMs = Number.POSITIVE_INFINITY;
    effects.push({ kind: "effect", header: job.version });
  } else {
    state.job = null;
    state.counters.refused += 1;
    reject(state, nowMs, job.version, state.node, reasons);
  }
}

function onCommit(state: ConfigLogState, exchange: number, effects: ConfigEffect[]): void {
  const { job } = state;
  if (job?.kind !== "follow" || job.exchange !== exchange || job.stage !== "promised" || !follows(state))
    return;
  if (job.version.id === state.head.id || job.version.id === state.tentative?.id) {
    state.job = null;
    effects.push(done(exchange, true, []));
    return;
  }
  job.stage = "effect";
  job.deadlineMs = Number.POSITIVE_INFINITY;
  effects.push({ kind: "effect", header: job.version });
}

function onEffected(
  state: ConfigLogState,
  nowMs: number,
  { id, ok, words }: Extract<ConfigInput, { kind: "effected" }>,
  effects: ConfigEffect[],
): void {
  const { job } = state;
  if (job === null || job.version.id !== id) return;
  if (job.kind === "lead") {
    lead.onEffected(state, job, ok, words, effects);
    return;
  }
  state.job = null;
  const { version } = job;
  if (job.kind === "follow") {
    if (ok) state.tentative = version;
    else effects.push({ kind: "drop" });
    state.counters[ok ? "followed" : "failed"] += 1;
    if (state.peer !== null) effects.push(done(job.exchange, ok, words));
  } else if (job.kind === "adopt") {
    state.counters[ok ? "adopted" : "failed"] += 1;
    if (ok) keep(state, version, effects);
    else {
      effects.push({ kind: "drop" });
      reject(state, nowMs, version, state.node, words);
    }
  } else if (ok) {
    const left = state.tentative;
    state.tentative = null;
    state.counters.reverted += 1;
    effects.push({ kind: "drop" });
    if (left !== null)
      effects.push({
        kind: "log",
        line: `configuration: ${nameOf(left)} was given up; back to ${nameOf(version)}`,
      });
  } else state.stuck = { words: words.join("; "), retryMs: nowMs + CONFIGURATION_RETRY_MS };
}

function onVersion(
  state: ConfigLogState,
  nowMs: number,
  { id, versions }: MessageOf<"configurationVersion">,
  effects: ConfigEffect[],
): void {
  const given = versions[0];
  const { job } = state;
  if (job?.kind === "adopt" && job.stage === "fetching" && job.version.id === id) {
    if (given === undefined || given.header.id !== id) {
      state.job = null;
      reject(state, nowMs, job.version, state.node, ["the other node does not give its text"]);
      return;
    }
    job.stage = "storing";
    job.deadlineMs = Number.POSITIVE_INFINITY;
    effects.push({ kind: "prepare", header: job.version, content: given.content, judge: true });
  } else if (given !== undefined && given.header.id === id && state.asked.has(id)) {
    remember(state, given.header);
    effects.push({ kind: "remember", header: given.header, content: given.content });
  }
}

/** What follows from the state alone, once nothing is under way. */
function settle(state: ConfigLogState, nowMs: number, effects: ConfigEffect[]): void {
  if (state.job?.kind === "follow" && state.job.stage === "promised" && leads(state)) giveUp(state, effects);
  // The leader itself now: what is in effect here was judged by both nodes, and ordered.
  if (state.job === null && state.tentative !== null && state.role === Role.Active && leads(state))
    keep(state, state.tentative, effects);
  if (speaks(state) && state.peer!.state !== null) {
    if (leads(state)) lead.bringTogether(state, nowMs, effects);
    else if (follows(state)) followTheWord(state, effects);
    if (state.job === null) closeGaps(state, effects);
  }
  announce(state, effects);
}

/** The leader says what is in force, and with it whether what it ordered still stands. */
function followTheWord(state: ConfigLogState, effects: ConfigEffect[]): void {
  const { job, tentative, peer } = state;
  const { head, pending } = peer!.state!;
  if (
    job?.kind === "follow" &&
    job.stage === "promised" &&
    pending !== job.version.id &&
    head.id !== job.version.id
  ) {
    giveUp(state, effects);
    return;
  }
  if (job !== null || tentative === null || pending === tentative.id) return;
  if (head.id === tentative.id) keep(state, tentative, effects);
  else if (state.stuck === null) {
    state.job = {
      kind: "revert",
      version: state.head,
      stage: "effect",
      deadlineMs: Number.POSITIVE_INFINITY,
    };
    effects.push({ kind: "effect", header: state.head });
  }
}

/** Older versions that only the other one has: asked for one at a time, while both agree. */
function closeGaps(state: ConfigLogState, effects: ConfigEffect[]): void {
  if (state.peer!.state!.head.id !== state.head.id) return;
  const gap = gapOf(state.history, state.head);
  if (gap === null || state.asked.has(gap)) return;
  state.asked.add(gap);
  effects.push({ kind: "send", message: { kind: "configurationFetch", id: gap } });
}

/** Says what has changed since it was said last. */
function announce(state: ConfigLogState, effects: ConfigEffect[]): void {
  if (!speaks(state)) return;
  const message = stateMessage(state);
  const { said } = state;
  const same =
    said !== null &&
    said.head.id === message.head.id &&
    said.running === message.running &&
    said.pending === message.pending &&
    said.about === message.about &&
    said.covers === message.covers;
  if (same) return;
  state.said = message;
  effects.push({ kind: "send", message });
}
