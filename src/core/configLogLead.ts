// The leader's side of the configuration's machine (configLog.ts): an order of the command line on its way to both nodes, and a
// node that is merely behind. The follower is asked first and changed first, so that an order which either node refuses has
// changed nothing anywhere; once the follower was told to take it, the leader goes on, whatever becomes of the connection. Pure.

import {
  CONFIGURATION_ANSWER_MS_MAX,
  CONFIGURATION_EFFECT_MS_MAX,
  CONFIGURATION_REASONS_MAX,
} from "../base/limits.ts";
import { peerOf, Role } from "../base/units.ts";
import type { ApplyReport, Place, PlaceState } from "../wire/controlConfiguration.ts";
import type { VersionHeader } from "../wire/messagesConfiguration.ts";
import type { MessageOf } from "../wire/peer.ts";
import {
  type ConfigEffect,
  type ConfigInput,
  type ConfigLogState,
  difference,
  keep,
  type LeadJob,
  leads,
  reject,
  speaks,
  standingOf,
} from "./configLogState.ts";
import { nameOf, versionAfter } from "./configVersions.ts";

type Order = Extract<ConfigInput, { kind: "apply" }>;

const forEver = Number.POSITIVE_INFINITY;

/** Why an order is not even begun; null where it is. */
function orderFault(state: ConfigLogState, { base, replace }: Order): string | null {
  const { node, job, head, peer } = state;
  const other = peerOf(node);
  if (!leads(state)) {
    if (state.role === Role.Active) return "both nodes say that they are active; wait until one has yielded";
    const why = state.peerActive || peer?.role === Role.Active ? `${other} is active` : `${other} leads`;
    return `${why}: a configuration is applied there, and reaches this node from there`;
  }
  if (job !== null) return `${nameOf(job.version)} is on its way; wait until it is there`;
  if (state.stuck !== null) return difference(state);
  if (base !== null && base !== head.id)
    return `it was made from another version than the one in force, which is ${nameOf(head)} by now`;
  if (!speaks(state) || replace) return null;
  const standing = standingOf(state);
  if (standing === "unknown")
    return `${other} has just connected and has not said yet which version it has; try again`;
  if (standing === "equal" || standing === "behind") return null;
  return `${difference(state)}. \`understudy diff peer\` shows the difference; \`understudy apply --replace-peer\` puts this node's on both, \`understudy apply --take-peer\` the other one's`;
}

/** An order of the command line. It is answered once, with a report or a refusal. */
export function apply(state: ConfigLogState, nowMs: number, order: Order, effects: ConfigEffect[]): void {
  const { request, draft, changes } = order;
  const fault = orderFault(state, order);
  if (fault !== null) {
    effects.push({ kind: "refuse", request, reason: fault });
    return;
  }
  // Alone: whoever gives this order has seen what is in effect here.
  if (state.tentative !== null) keep(state, state.tentative, effects);
  const { head, node } = state;
  const isSame = draft === null || (draft.digest === head.digest && draft.textDigest === head.textDigest);
  const theirs = speaks(state) ? state.peer!.state : null;
  if (isSame && (theirs === null || theirs.head.id === head.id || !order.replace)) {
    const places = [place(state, "in-force"), peerAsItIs(state)] as const;
    effects.push({
      kind: "answer",
      request,
      report: { outcome: "unchanged", version: head, changes: [], places },
    });
    return;
  }
  const version = isSame ? head : versionAfter(head, draft!, node);
  const job = newJob(state, version, request, isSame ? [] : changes);
  state.job = job;
  if (isSame) ask(nowMs, job, effects);
  else effects.push({ kind: "prepare", header: version, content: order.text, judge: false });
}

function newJob(
  state: ConfigLogState,
  version: VersionHeader,
  request: number | null,
  changes: readonly string[],
): LeadJob {
  state.exchange = (state.exchange + 1) >>> 0;
  return {
    kind: "lead",
    exchange: state.exchange,
    version,
    request,
    changes,
    own: version.id !== state.head.id,
    from: state.peer?.state?.head.id ?? version.id,
    stage: "storing",
    peer: peerAsItIs(state),
    deadlineMs: forEver,
  };
}

const place = (state: ConfigLogState, placeState: PlaceState, words: readonly string[] = []): Place => ({
  node: state.node,
  state: placeState,
  words,
});
const other = (state: ConfigLogState, placeState: PlaceState, words: readonly string[] = []): Place => ({
  ...place(state, placeState, words),
  node: peerOf(state.node),
});

/** What can be said of the peer before it was asked. */
function peerAsItIs(state: ConfigLogState): Place {
  const { peer, head } = state;
  if (peer === null) return other(state, "absent");
  if (!speaks(state)) return other(state, "old-protocol");
  return other(state, peer.state?.head.id === head.id ? "in-force" : "unchanged");
}

function ask(nowMs: number, job: LeadJob, effects: ConfigEffect[]): void {
  const { exchange, from, version: header } = job;
  job.stage = "asked";
  job.deadlineMs = nowMs + CONFIGURATION_ANSWER_MS_MAX;
  effects.push({ kind: "propose", exchange, from, header });
}

/** The version is on this node's disk, or could not be written there. */
export function onPrepared(
  state: ConfigLogState,
  nowMs: number,
  job: LeadJob,
  reasons: readonly string[],
  effects: ConfigEffect[],
): void {
  if (reasons.length > 0) finish(state, job, place(state, "failed", reasons), effects);
  else if (!leads(state)) finish(state, job, place(state, "unchanged", [roleWords]), effects);
  else if (!speaks(state)) {
    job.peer = peerAsItIs(state);
    takeEffect(job, effects);
  } else if (state.peer!.state === null) finish(state, job, place(state, "unchanged", [lostWords]), effects);
  else ask(nowMs, job, effects);
}

const lostWords = "the connection to the other node was lost while it looked at it; give the order again";
const lateWords = "the other node did not answer in time; give the order again";
const roleWords = "the active role changed meanwhile; give the order again on the node that is active now";

function takeEffect(job: LeadJob, effects: ConfigEffect[]): void {
  job.stage = "own-effect";
  job.deadlineMs = forEver;
  effects.push({ kind: "effect", header: job.version });
}

/** The job of this exchange at this stage; null where an answer comes too late, or to nothing. */
function jobOf(state: ConfigLogState, exchange: number, stage: LeadJob["stage"]): LeadJob | null {
  const { job } = state;
  return job?.kind === "lead" && job.exchange === exchange && job.stage === stage ? job : null;
}

export function onVerdict(
  state: ConfigLogState,
  nowMs: number,
  { exchange, accepted, reasons }: MessageOf<"configurationVerdict">,
  effects: ConfigEffect[],
): void {
  const job = jobOf(state, exchange, "asked");
  if (job === null) return;
  if (!accepted) {
    state.counters.refusedByPeer += 1;
    job.peer = other(state, "refused", reasons);
    reject(state, nowMs, job.version, peerOf(state.node), reasons);
    finish(state, job, place(state, job.own ? "unchanged" : "in-force"), effects);
    return;
  }
  job.stage = "peer-effect";
  job.deadlineMs = nowMs + CONFIGURATION_EFFECT_MS_MAX;
  effects.push({ kind: "send", message: { kind: "configurationCommit", exchange } });
}

export function onDone(
  state: ConfigLogState,
  nowMs: number,
  { exchange, ok, reasons }: MessageOf<"configurationDone">,
  effects: ConfigEffect[],
): void {
  const job = jobOf(state, exchange, "peer-effect");
  if (job === null) return;
  job.peer = other(state, ok ? "in-force" : "failed", ok ? beside(job, reasons) : reasons);
  if (!ok) reject(state, nowMs, job.version, peerOf(state.node), reasons);
  if (ok && job.own) takeEffect(job, effects);
  else finish(state, job, place(state, job.own ? "unchanged" : "in-force"), effects);
}

/** The order is in effect here, or this node is as it was before. */
export function onEffected(
  state: ConfigLogState,
  job: LeadJob,
  ok: boolean,
  words: readonly string[],
  effects: ConfigEffect[],
): void {
  if (ok) keep(state, job.version, effects);
  // The follower hears that it is not pending any more, and goes back.
  else if (job.peer.state === "in-force")
    job.peer =
      state.peer !== null && leads(state)
        ? other(state, "unchanged", ["it goes back"])
        : other(state, "unconfirmed", [
            "it had it in effect, and goes back unless it became active meanwhile",
          ]);
  finish(state, job, place(state, ok ? "in-force" : "failed", ok ? beside(job, words) : words), effects);
}

/** What a node says of an effect beside what is changed, which is told once. */
const beside = ({ changes }: LeadJob, words: readonly string[]): readonly string[] =>
  words.filter((line) => !changes.includes(line));

export function onDown(state: ConfigLogState, nowMs: number, job: LeadJob, effects: ConfigEffect[]): void {
  if (job.stage === "asked") interrupted(state, job, lostWords, effects);
  // What is taken into effect may end the connection itself (another path): it comes back, and says how it went.
  else if (job.stage === "peer-effect")
    job.deadlineMs = Math.min(job.deadlineMs, nowMs + CONFIGURATION_ANSWER_MS_MAX);
}

/** The follower's state, while it is to take a version into effect: after a lost connection it says what its answer would have. */
export function onState(state: ConfigLogState, nowMs: number, effects: ConfigEffect[]): void {
  const { job } = state;
  const theirs = state.peer!.state!;
  if (job?.kind !== "lead" || job.stage !== "peer-effect") return;
  const { exchange, version } = job;
  const isPending = theirs.pending === version.id;
  if (theirs.head.id === version.id || (isPending && theirs.running === version.digest))
    onDone(state, nowMs, { kind: "configurationDone", exchange, ok: true, reasons: [] }, effects);
  else if (!isPending)
    onDone(state, nowMs, { kind: "configurationDone", exchange, ok: false, reasons: [goneBack] }, effects);
}

const goneBack = "it has gone back to what it had; its log says why";

export function onLate(state: ConfigLogState, job: LeadJob, effects: ConfigEffect[]): void {
  if (job.stage === "asked") interrupted(state, job, lateWords, effects);
  else goOn(state, job, "it was told to take it, and has not said in time that it did", effects);
}

/** The other node may have taken over, or given the role away: before anybody was told to change, nothing is changed. */
export function onRoleChange(state: ConfigLogState, effects: ConfigEffect[]): void {
  const { job } = state;
  if (job?.kind !== "lead" || leads(state)) return;
  if (job.stage === "asked") interrupted(state, job, roleWords, effects);
  else if (job.stage === "peer-effect") {
    // It leads now, and decides: what it has in effect by then stays.
    job.peer = other(state, "unconfirmed", ["it became active meanwhile"]);
    finish(state, job, place(state, job.own ? "unchanged" : "in-force", [roleWords]), effects);
  }
}

function interrupted(state: ConfigLogState, job: LeadJob, words: string, effects: ConfigEffect[]): void {
  job.peer = other(state, "unchanged");
  finish(state, job, place(state, job.own ? "unchanged" : "in-force", [words]), effects);
}

/** The follower was told to take it, and may have: there is one way, and it is forward. */
function goOn(state: ConfigLogState, job: LeadJob, words: string, effects: ConfigEffect[]): void {
  job.peer = other(state, "unconfirmed", [words]);
  if (job.own) takeEffect(job, effects);
  else finish(state, job, place(state, "in-force"), effects);
}

/** Ends a job; an order that is not in force here is dropped, and whoever gave it is answered. */
function finish(state: ConfigLogState, job: LeadJob, here: Place, effects: ConfigEffect[]): void {
  state.job = null;
  const inForce = here.state === "in-force";
  if (!inForce) effects.push({ kind: "drop" });
  const outcome = outcomeOf(here.state, job.peer.state);
  if (outcome === "done" || outcome === "partly") state.counters.applied += 1;
  else state.counters[outcome === "refused" ? "refused" : "failed"] += 1;
  const { request, version, changes, peer } = job;
  if (request !== null)
    effects.push({ kind: "answer", request, report: { outcome, version, changes, places: [here, peer] } });
  else if (job.peer.state === "in-force")
    effects.push({
      kind: "log",
      line: `configuration: ${job.peer.node} was brought up to ${nameOf(job.version)}`,
    });
}

function outcomeOf(here: PlaceState, there: PlaceState): ApplyReport["outcome"] {
  if (here === "in-force") return there === "in-force" ? "done" : "partly";
  return here === "refused" || there === "refused" ? "refused" : "failed";
}

/** The leader's look at what the other node has: it is brought up to date, or this node is; or they have parted. */
export function bringTogether(state: ConfigLogState, nowMs: number, effects: ConfigEffect[]): void {
  const { head, peer, job, tentative, rejection } = state;
  if (job !== null || tentative !== null) return;
  const standing = standingOf(state);
  if (standing === "ahead" && rejection?.version !== peer!.state!.head.id) {
    const version = peer!.state!.head;
    const deadlineMs = nowMs + CONFIGURATION_ANSWER_MS_MAX;
    state.job = { kind: "adopt", version, stage: "fetching", deadlineMs };
    effects.push({ kind: "send", message: { kind: "configurationFetch", id: version.id } });
  }
  if (standing !== "behind" || rejection?.version === head.id) return;
  // In effect there, and waiting for the word, which is in the next state.
  const { pending, running } = peer!.state!;
  if (pending === head.id && running === head.digest) return;
  const catchUp = newJob(state, head, null, []);
  state.job = catchUp;
  ask(nowMs, catchUp, effects);
}

/** So many reasons as a message takes, the rest counted. */
export function boundedReasons(reasons: readonly string[]): readonly string[] {
  if (reasons.length <= CONFIGURATION_REASONS_MAX) return reasons;
  const shown = reasons.slice(0, CONFIGURATION_REASONS_MAX - 1);
  return [...shown, `and ${reasons.length - shown.length} more`];
}
