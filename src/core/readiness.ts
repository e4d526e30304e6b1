// Readiness: could the other node take over now, and how much of the active's sessions is proven to be in its kernel? One value
// from measured parts, judged from what a node knows at one moment. It may not read a clock, and it believes nothing that is
// older than its bound: what is not known counts as not proven. Pure.
//
// Invariants
// P1  The value is never above the truth: it is 1 only where every part holds, each by a measurement that is young enough. A part
//     that is missing or unknown makes it 0. Between 0 and 1 there are only sessions that were counted and are known to be lacking.
// P2  A node judges what it can measure itself (`own`), and says that in its heartbeats. The value for people is the least of
//     that and the other node's word. A word is never passed back to whoever said it.
// P3  What is behind by less than READINESS_PROOF_MS_MAX is what "now" means: the value speaks of the sessions that the active
//     had READINESS_PROOF_MS_MAX and one report (200 ms) ago.

import { READINESS_AUDIT_MS_MAX, READINESS_PROOF_MS_MAX, TABLE_NEARLY_FULL } from "../base/limits.ts";
import { READINESS_WHOLE } from "../base/readiness.ts";
import { type NodeId, peerOf, type Role } from "../base/units.ts";
import type { Position } from "../wire/control.ts";
import type { AuditState } from "../wire/controlAudit.ts";
import type {
  DrillReport,
  ReadinessPart,
  ReadinessPartName,
  ReadinessView,
} from "../wire/controlReadiness.ts";

/** What was heard of the other node. */
export interface PeerFacts {
  readonly heard: boolean;
  readonly role: Role | null;
  /** Its own word for the election: it holds everything, and could forward. */
  readonly ready: boolean;
  /** Ten-thousandths; null: it says nothing. */
  readonly readiness: number | null;
  readonly sessions: number | null;
}

/** What happened to a standby's entries that was not this node's doing, nor the active's. */
export interface Damage {
  readonly ended: number;
  readonly changed: number;
  /** Events of this node's own table were lost: it may be more. */
  readonly uncertain: boolean;
}

export interface TableFacts {
  readonly node: NodeId;
  readonly entries: number;
  /** 0: not known. */
  readonly max: number;
}

export interface ReadinessFacts {
  readonly node: NodeId;
  readonly role: Role;
  /** Of heart; null: it does not run. */
  readonly peer: PeerFacts | null;
  readonly gateOpen: boolean;
  /** Why this node is not ready, by its daemon, its heart and its dress. */
  readonly reasons: readonly string[];
  readonly connected: boolean;
  readonly synchronised: boolean;
  /** Since anything came over the log's connection; null: there is none. */
  readonly silentMs: number | null;
  /** Since this kernel's session events were last read to the end; null: never. */
  readonly unreadMs: number | null;
  /** Active: what the standby has not confirmed (LevelTracker); null: nobody follows. */
  readonly behind: { readonly records: number; readonly ms: number | null } | null;
  /** Why the nodes' configurations differ; null: they do not. */
  readonly difference: string | null;
  /** Standby: sessions of the active that its kernel refused. */
  readonly refused: number;
  /** Standby. */
  readonly damage: Damage;
  /** Null: nothing compares the tables. */
  readonly audit: Pick<AuditState, "provenAgeMs" | "pass" | "standing" | "late"> | null;
  /** Entries of this node's table. */
  readonly sessions: number;
  readonly tables: readonly TableFacts[];
  readonly drill: DrillReport | null;
  /** A drill is under way. */
  readonly drilling: string | null;
}

export interface Readiness {
  /** What this node can answer for alone, in ten-thousandths; null: nothing is known. For its heartbeats. */
  readonly own: number | null;
  readonly view: Omit<ReadinessView, "since" | "at">;
}

const good = (part: ReadinessPartName, words: string, age?: Age): ReadinessPart =>
  make(part, "good", words, "", age);
const bad = (part: ReadinessPartName, words: string, advice: string, age?: Age): ReadinessPart =>
  make(part, "bad", words, advice, age);

type Age = readonly [ageMs: number | null, boundMs: number];

function make(
  part: ReadinessPartName,
  state: ReadinessPart["state"],
  words: string,
  advice: string,
  [ageMs, boundMs]: Age | readonly [null, null] = [null, null],
): ReadinessPart {
  return { part, state, words, advice, ageMs, boundMs };
}

/** The judgement, as of the moment at which `facts` were gathered. */
export function judge(facts: ReadinessFacts): Readiness {
  const own = [...ownParts(facts)];
  const { total, least, lacking } = countOf(facts);
  const ownShare = shareOf(own, least, lacking);
  const gating = facts.role === "idle" ? own : [...own, wordPart(facts)];
  const word = wordShare(facts);
  const proven = Math.min(ownShare ?? 0, word);
  const isBad = gating.some(({ state }) => state === "bad") || lacking > 0;
  const verdict = proven === READINESS_WHOLE ? "ready" : isBad || proven > 0 ? "not-ready" : "unknown";
  const known = total === null || proven === 0 ? null : Math.max(0, total - lacking);
  return {
    own: facts.role === "idle" ? null : ownShare,
    view: {
      node: facts.node,
      successor: successorOf(facts),
      verdict,
      proven: proven / READINESS_WHOLE,
      total,
      held: known === null ? null : Math.floor((known * word) / READINESS_WHOLE),
      behind: facts.behind,
      provenAgeMs: facts.audit?.provenAgeMs ?? null,
      parts: [...gating, ...remarks(facts)],
      lastDrill: facts.drill,
    },
  };
}

/** Null: something is not known. 0: something that all hangs on is not so. */
function shareOf(parts: readonly ReadinessPart[], total: number | null, lacking: number): number | null {
  // What is lacking is counted; all other parts are so, or not.
  const whole = parts.filter(({ part }) => part !== "sessions" || total === null);
  if (whole.some(({ state }) => state === "bad")) return 0;
  if (parts.some(({ state }) => state === "unknown")) return null;
  if (total === null) return null;
  if (lacking === 0) return READINESS_WHOLE;
  // Of none, something can be lacking all the same.
  return total <= lacking ? 0 : Math.floor(((total - lacking) / total) * READINESS_WHOLE);
}

interface Count {
  /** Of the active, as its table counts; the node's own are among them. Null: not known. */
  readonly total: number | null;
  /** What the share is of: no more than what surely are the pair's, so that what is lacking weighs no less than it does. */
  readonly least: number | null;
  /** A session that is lacking twice over is counted twice: never the other way round. */
  readonly lacking: number;
}

function countOf({ role, refused, damage, audit, peer, sessions }: ReadinessFacts): Count {
  const standing = audit?.standing ?? 0;
  const lacking = standing + (role === "standby" ? refused + damage.ended + damage.changed : 0);
  const total = role === "active" ? sessions : (peer?.sessions ?? null);
  const least = total === null ? null : Math.min(total, audit?.pass?.sessions ?? total);
  return { total, least, lacking };
}

function successorOf({ node, role, peer }: ReadinessFacts): NodeId | null {
  if (peer?.heard !== true) return null;
  if (role === "active") return peer.role === "standby" ? peerOf(node) : null;
  return role === "standby" && peer.role === "active" ? node : null;
}

function* ownParts(facts: ReadinessFacts): Iterable<ReadinessPart> {
  yield otherNode(facts);
  yield logPart(facts);
  if (facts.role === "active") yield positionPart(facts);
  yield eventsPart(facts);
  yield facts.difference === null
    ? good("configuration", "the same on both nodes")
    : bad("configuration", facts.difference, "`understudy diff peer` shows the difference.");
  yield sessionsPart(facts);
  yield auditPart(facts);
  yield facts.reasons.length === 0
    ? good("this node", "its daemon, its heart and its interfaces are in order")
    : bad("this node", facts.reasons.join("; "), "`understudy show pair` has the particulars.");
}

function otherNode({ node, role, peer, gateOpen }: ReadinessFacts): ReadinessPart {
  const [part, other] = ["other node" as const, peerOf(node)];
  if (peer === null) return bad(part, `heart does not run on ${node}`, "`understudy show alarms` says why.");
  if (!peer.heard)
    return bad(
      part,
      role === "active" ? `${node} is alone: ${other} is not heard` : `${other} is not heard`,
      "Is it running? Look at the cables between the nodes with `understudy show pair`.",
    );
  const wanted = role === "active" ? "standby" : "active";
  if (role === "idle" || peer.role !== wanted)
    return bad(
      part,
      `${node} is ${role}, ${other} is ${peer.role ?? "unknown"}`,
      "`understudy show pair` on both nodes.",
    );
  if (role === "active" && !gateOpen)
    return bad(part, `the gate of ${node} is not open`, "A handover is under way, or the lease lapsed.");
  return good(part, `${other} is ${wanted}, and heard`);
}

function logPart({ connected, synchronised, silentMs }: ReadinessFacts): ReadinessPart {
  const part = "log";
  const age: Age = [silentMs, READINESS_PROOF_MS_MAX];
  if (!connected) return bad(part, "not connected", "Is TCP 1148 filtered? Both logs have the reason.");
  if (!synchronised)
    return bad(
      part,
      "the whole state has not been sent yet",
      "It goes on by itself; where it does not, see `understudy show alarms`.",
    );
  if (silentMs === null || silentMs > READINESS_PROOF_MS_MAX)
    return make(
      part,
      "unknown",
      "nothing comes over the log's connection",
      "A cable, or the other node's daemon.",
      age,
    );
  return good(part, "connected, the whole state was sent", age);
}

function positionPart({ behind }: ReadinessFacts): ReadinessPart {
  const part = "position";
  if (behind === null) return make(part, "unknown", "nobody follows the log", "Look at the log first.");
  const age: Age = [behind.ms, READINESS_PROOF_MS_MAX];
  const records = `${behind.records} ${behind.records === 1 ? "record" : "records"} behind`;
  if (behind.ms === null || behind.ms > READINESS_PROOF_MS_MAX)
    return bad(
      part,
      `${records}, and not coming nearer`,
      "The other node's daemon stands still, or the path is too slow.",
      age,
    );
  return good(part, records, age);
}

function eventsPart({ role, unreadMs }: ReadinessFacts): ReadinessPart {
  const age: Age = [unreadMs, READINESS_PROOF_MS_MAX];
  const fresh = unreadMs !== null && unreadMs <= READINESS_PROOF_MS_MAX;
  const what =
    role === "active" ? "what the kernel tells of sessions" : "what happens in this node's own table";
  return fresh
    ? good("events", `${what} has been read`, age)
    : make(
        "events",
        "unknown",
        `${what} has not been read to its end`,
        "This node's daemon cannot keep up: look at its load.",
        age,
      );
}

function sessionsPart({ role, refused, damage, audit }: ReadinessFacts): ReadinessPart {
  const part = "sessions";
  const lacking: string[] = [];
  if (role === "standby") {
    if (refused > 0) lacking.push(`${refused} refused by this kernel`);
    if (damage.ended > 0) lacking.push(`${damage.ended} ended here by somebody else`);
    if (damage.changed > 0) lacking.push(`${damage.changed} changed here by somebody else`);
  }
  if ((audit?.standing ?? 0) > 0) lacking.push(`${audit?.standing} found to differ and not repaired`);
  if (lacking.length > 0)
    return bad(part, lacking.join(", "), "The audit repairs what is missing; see `understudy show alarms`.");
  return role === "standby" && damage.uncertain
    ? make(part, "unknown", "events of this node's own table were lost", "The next audit says what it holds.")
    : good(part, "none is known to be lacking");
}

function auditPart({ audit }: ReadinessFacts): ReadinessPart {
  const part = "audit";
  const age: Age = [audit?.provenAgeMs ?? null, READINESS_AUDIT_MS_MAX];
  if (audit === null || audit.provenAgeMs === null) {
    return make(
      part,
      "unknown",
      "the two tables have not been compared yet",
      "It begins by itself; a pass takes up to a minute, of a million some.",
      age,
    );
  }
  if (audit.provenAgeMs > READINESS_AUDIT_MS_MAX || audit.late !== null)
    return make(
      part,
      "unknown",
      audit.late ?? "the last comparison is too old",
      "Does the audit get its share of a processor?",
      age,
    );
  return good(part, "both kernels' tables were compared", age);
}

/** What the other node answers for. */
const wordShare = ({ peer, role }: ReadinessFacts): number =>
  role !== "idle" && peer?.heard === true && peer.ready ? (peer.readiness ?? 0) : 0;

function wordPart({ node, peer }: ReadinessFacts): ReadinessPart {
  const [part, other] = ["other's word" as const, peerOf(node)];
  const advice = `\`understudy show readiness\` on ${other} says why.`;
  if (peer?.heard !== true) return make(part, "unknown", `${other} says nothing`, "");
  if (!peer.ready) return bad(part, `${other} says that it is not ready`, advice);
  if (peer.readiness === null)
    return make(part, "unknown", `${other} proves nothing yet, or is of an older version`, advice);
  const share = `${(Math.floor(peer.readiness / 10) / 10).toFixed(1)} %`;
  return peer.readiness === READINESS_WHOLE
    ? good(part, `${other} answers for all of it`)
    : bad(part, `${other} answers for ${share} of it`, advice);
}

/** What takes nothing from a takeover now, and ought to be known. */
function* remarks({ tables, drill, drilling }: ReadinessFacts): Iterable<ReadinessPart> {
  const full = nearlyFull(tables);
  if (full !== null) yield make("table", "warn", full, "Raise net.netfilter.nf_conntrack_max on both nodes.");
  if (drilling !== null) yield make("drill", "warn", drilling, "");
  else if (drill === null)
    yield make(
      "drill",
      "warn",
      "this pair has never drilled",
      "`understudy drill` hands over and back, and tells what it cost.",
    );
  else if (drill.result !== "passed")
    yield make(
      "drill",
      "warn",
      `the last drill ${drill.result}: ${drill.words}`,
      "`understudy drill` tries again.",
    );
  else yield good("drill", drill.words);
}

/** Tables that are filled to TABLE_NEARLY_FULL, in words; null: none is. */
export function nearlyFull(tables: readonly TableFacts[]): string | null {
  const full = tables.filter(({ entries, max }) => max > 0 && entries >= max * TABLE_NEARLY_FULL);
  if (full.length === 0) return null;
  return full.map(({ node, entries, max }) => `${node}: ${entries} of ${max} sessions`).join(", ");
}

/** How far a standby is behind, in time: looked at now and then, it says an upper bound. */
export class LevelTracker {
  #term = 0;
  /** What had been produced at moments gone by and is not confirmed yet, the oldest first. */
  #marks: { readonly atMs: number; readonly sequence: number }[] = [];
  #levelAtMs: number | null = null;

  /** `acknowledged` null: nobody follows. Null as well then. */
  look(
    nowMs: number,
    produced: Position | null,
    acknowledged: Position | null,
  ): { readonly records: number; readonly ms: number | null } | null {
    if (produced === null || acknowledged === null || acknowledged.term !== produced.term) {
      this.#marks = [];
      this.#levelAtMs = null;
      return null;
    }
    if (produced.term !== this.#term) {
      this.#term = produced.term;
      this.#marks = [];
      this.#levelAtMs = null;
    }
    // One mark a stretch: a standby that stands still for an hour costs no list of an hour.
    if (this.#marks.length < MARKS_MAX) this.#marks.push({ atMs: nowMs, sequence: produced.sequence });
    while (this.#marks.length > 0 && this.#marks[0]!.sequence <= acknowledged.sequence)
      this.#levelAtMs = this.#marks.shift()!.atMs;
    return {
      records: Math.max(0, produced.sequence - acknowledged.sequence),
      ms: this.#levelAtMs === null ? null : nowMs - this.#levelAtMs,
    };
  }
}

const MARKS_MAX = 64;
