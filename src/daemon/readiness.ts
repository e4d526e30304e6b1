// Readiness as the daemon measures it: gathers what core/readiness.ts judges, ten times a second and when asked, keeps what only
// time tells (how far behind, since when), and has heart say it in every heartbeat. It judges nothing.

import { READINESS_PROOF_MS_MAX } from "../base/limits.ts";
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
import type { Lack } from "./alarms.ts";
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

const NOTHING_LACKS: Readonly<Record<Lack, string | null>> = {
  "position-stuck": null,
  "events-overrun": null,
  "table-disturbed": null,
  "table-nearly-full": null,
  "drill-failed": null,
};
type Behind = { readonly records: number; readonly ms: number | null } | null;

const isStuck = (behind: Behind): behind is { readonly records: number; readonly ms: number } =>
  behind !== null && behind.records > 0 && behind.ms !== null && behind.ms > READINESS_PROOF_MS_MAX;

function damageText({ ended, changed, uncertain }: Damage): string | null {
  if (ended === 0 && changed === 0) return uncertain ? "events of this node's own table were lost" : null;
  return `${ended} ended, ${changed} changed${uncertain ? ", perhaps more" : ""}`;
}

/** Says of a counter that it has grown, for as long as an alarm needs to see it. */
class Growth {
  #last: number | null = null;
  #grewAtMs = Number.NEGATIVE_INFINITY;

  look(count: number, nowMs: number): string | null {
    if (this.#last !== null && count > this.#last) this.#grewAtMs = nowMs;
    this.#last = count;
    return nowMs - this.#grewAtMs < SEEN_MS ? `${count} times since the daemon started` : null;
  }
}

/** Alarms are looked at every 200 ms. */
const SEEN_MS = 1000;

export class ReadinessKeeper {
  readonly #sources: ReadinessSources;
  readonly #level = new LevelTracker();
  readonly #damage = new DamageWatch();
  readonly #overruns = new Growth();
  #lack: Readonly<Record<Lack, string | null>> = NOTHING_LACKS;
  #verdict: ReadinessView["verdict"] | null = null;
  #since = 0;

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
    const damage = this.#damage.look(nowMs, role, evidence, audit?.provenAgeMs ?? null);
    const tables = tablesOf(node, sessions, peer, machines());
    const behind = this.#level.look(nowMs, state.produced, state.acknowledged);
    const drill = lastDrill();
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
      behind,
      difference: difference(),
      refused,
      damage,
      audit,
      sessions,
      tables,
      drill,
      drilling: drilling(),
    });
    this.#lack = {
      "position-stuck": isStuck(behind) ? `${behind.records} records, for ${Math.round(behind.ms)} ms` : null,
      "events-overrun": this.#overruns.look(state.counters["sender.overruns"] ?? 0, nowMs),
      "table-disturbed": damageText(damage),
      "table-nearly-full": nearlyFull(tables),
      "drill-failed": drill?.result === "failed" ? drill.words : null,
    };
    if (judged.view.verdict !== this.#verdict) {
      this.#verdict = judged.view.verdict;
      this.#since = Date.now();
    }
    return judged;
  }

  /** For people. */
  view(heart?: HeartState | null): ReadinessView | null {
    const judged = this.look(heart);
    if (judged === null) return null;
    return { ...judged.view, since: new Date(this.#since).toISOString(), at: new Date().toISOString() };
  }

  /** Entries of this node's table, and whether it is whole and could serve by its own word. */
  own(): { readonly sessions: number; readonly ready: boolean } {
    const { replicator, dressed, heart } = this.#sources;
    const { sessions = 0, ready = false } = replicator()?.report() ?? {};
    return { sessions, ready: ready && dressed() && heart()?.reasons?.length === 0 };
  }

  /** As judged last: what alarms are raised for. */
  get lack(): Readonly<Record<Lack, string | null>> {
    return this.#lack;
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
