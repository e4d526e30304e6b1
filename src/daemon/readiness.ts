// Readiness as the daemon measures it: gathers what core/readiness.ts judges, ten times a second and when asked, keeps what only
// time tells (how far behind, since when), and has heart say it in every heartbeat. It judges nothing.

import { peerOf } from "../base/units.ts";
import type { Config } from "../core/config.ts";
import {
  type Damage,
  judge,
  LevelTracker,
  nearlyFull,
  type PeerFacts,
  type Readiness,
  type TableFacts,
} from "../core/readiness.ts";
import type { HeartState, MachinesView } from "../wire/control.ts";
import type { DrillReport, ReadinessView } from "../wire/controlReadiness.ts";
import type { ReplicatorEvidence } from "./evidence.ts";
import type { Replicator } from "./replicator.ts";

export interface ReadinessSources {
  config(): Pick<Config, "node">;
  heart(): HeartState | null;
  replicator(): Pick<Replicator, "state" | "report" | "evidence"> | null;
  dressed(): boolean;
  machines(): Pick<MachinesView, "own" | "peer">;
  /** Why the nodes' configurations differ; null: they do not. */
  difference(): string | null;
  lastDrill(): DrillReport | null;
  /** What a drill is at, in words; null: there is none. */
  drilling(): string | null;
}

export class ReadinessKeeper {
  readonly #sources: ReadinessSources;
  readonly #level = new LevelTracker();
  readonly #damage = new DamageWatch();
  #verdict: ReadinessView["verdict"] | null = null;
  #since = 0;
  #last: Readiness | null = null;

  constructor(sources: ReadinessSources) {
    this.#sources = sources;
  }

  /** Judges anew. Null: this node is still starting. `heart`: its newest word, where it was asked for one. */
  look(heart: HeartState | null = this.#sources.heart()): Readiness | null {
    const { config, replicator, dressed, machines, difference, lastDrill, drilling } = this.#sources;
    const replication = replicator();
    if (replication === null) return null;
    const { node } = config();
    const nowMs = performance.now();
    const state = replication.state();
    const { reasons, sessions, refused } = replication.report();
    const evidence = replication.evidence();
    const role = heart?.role ?? "idle";
    const peer = heart === null ? null : peerFacts(heart);
    const { audit = null } = state;
    const judged = judge({
      node,
      role,
      peer,
      gateOpen: heart?.gate === "open",
      reasons: [
        ...(dressed() ? [] : ["forwarding is not set up yet"]),
        ...(heart?.reasons ?? []),
        ...reasons,
      ],
      connected: state.connected,
      synchronised: state.synchronised,
      silentMs: evidence.silentMs,
      unreadMs: evidence.unreadMs,
      behind: this.#level.look(nowMs, state.produced, state.acknowledged),
      difference: difference(),
      refused,
      damage: this.#damage.look(nowMs, role, evidence, audit?.provenAgeMs ?? null),
      audit,
      sessions,
      tables: tablesOf(node, sessions, peer, machines()),
      drill: lastDrill(),
      drilling: drilling(),
    });
    if (judged.view.verdict !== this.#verdict) {
      this.#verdict = judged.view.verdict;
      this.#since = Date.now();
    }
    this.#last = judged;
    return judged;
  }

  /** For people. */
  view(heart?: HeartState | null): ReadinessView | null {
    const judged = this.look(heart);
    if (judged === null) return null;
    return { ...judged.view, since: new Date(this.#since).toISOString(), at: new Date().toISOString() };
  }

  /** As judged last. */
  get last(): Readiness | null {
    return this.#last;
  }

  /** Which table is nearly full, in words; null: none. */
  nearlyFull(): string | null {
    const { config, heart, replicator, machines } = this.#sources;
    const state = heart();
    const replication = replicator();
    if (replication === null) return null;
    const peer = state === null ? null : peerFacts(state);
    return nearlyFull(tablesOf(config().node, replication.report().sessions, peer, machines()));
  }
}

function peerFacts({ peer }: HeartState): PeerFacts {
  const { heard, role, ready, readiness = null, sessions } = peer;
  return { heard, role, ready, readiness, sessions };
}

function tablesOf(
  node: Config["node"],
  sessions: number,
  peer: PeerFacts | null,
  { own, peer: theirs }: Pick<MachinesView, "own" | "peer">,
): readonly TableFacts[] {
  const tables = [{ node, entries: sessions, max: own.conntrackMax }];
  if (peer?.heard === true && peer.sessions !== null && theirs !== null)
    tables.push({ node: peerOf(node), entries: peer.sessions, max: theirs.conntrackMax });
  return tables;
}

/** What was done to a standby's table since it was last proven whole, by a snapshot that began since or by an audit. */
export class DamageWatch {
  #base = { ended: 0, changed: 0, lost: 0 };
  #seen = { ended: 0, changed: 0, lost: 0 };
  #grewAtMs = Number.NEGATIVE_INFINITY;
  #role = "";
  #snapshots = 0;

  look(nowMs: number, role: string, evidence: ReplicatorEvidence, provenAgeMs: number | null): Damage {
    const { ended, changed, lost, snapshots } = evidence;
    const seen = { ended, changed, lost };
    if (ended !== this.#seen.ended || changed !== this.#seen.changed || lost !== this.#seen.lost)
      this.#grewAtMs = nowMs;
    this.#seen = seen;
    const audited = provenAgeMs !== null && nowMs - provenAgeMs > this.#grewAtMs;
    if (role !== this.#role || snapshots !== this.#snapshots || audited) this.#base = seen;
    this.#role = role;
    this.#snapshots = snapshots;
    if (role !== "standby") return { ended: 0, changed: 0, uncertain: false };
    const base = this.#base;
    return { ended: ended - base.ended, changed: changed - base.changed, uncertain: lost > base.lost };
  }
}
