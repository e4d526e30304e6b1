// The daemon's alarms: what it sees of heart, of replication, of the kernel's dress and of port 1148, held against the
// conditions of core/alarms.ts, and put together with heart's own for whoever asks. It decides nothing else.

import { type NodeId, peerOf } from "../base/units.ts";
import { AlarmBoard, type AlarmCount, type DaemonAlarmCode, type Instant, inOrder } from "../core/alarms.ts";
import type { Config } from "../core/config.ts";
import type { AlarmState, AlarmsView, HeartState, MachinesView, ReplicationState } from "../wire/control.ts";
import type { AuditState } from "../wire/controlAudit.ts";
import { PROTOCOL_VERSION } from "../wire/peer.ts";

/** Alarms that readiness is told by. */
export type Lack =
  | "position-stuck"
  | "events-overrun"
  | "table-disturbed"
  | "table-nearly-full"
  | "drill-failed";

/** What is looked at anew each time. */
export interface AlarmFacts {
  /** Null where heart does not run. */
  readonly heart: HeartState | null;
  readonly replication: ReplicationState;
  readonly machines: Pick<MachinesView, "own" | "peer">;
  /** Sessions of the other node that this one's kernel does not take. */
  readonly refused: number;
  /** What readiness is in want of (readiness.ts), each in words or null. */
  readonly lack: Readonly<Record<Lack, string | null>>;
  readonly configuration: {
    /** Why the connected peer runs with another one; null where it does not, or where that cannot be said. */
    readonly difference: string | null;
    /** Why its versions are not kept on disk. */
    readonly storeFault: string | null;
  };
  readonly config: Pick<Config, "node" | "digest" | "peerKeys" | "ownKeys" | "links">;
}

/** A path or a port is told only when somebody could have been heard on it. */
const PATH_SILENT_MS = 500;

type Conditions = Partial<Readonly<Record<DaemonAlarmCode, string | null>>>;

/** Each condition's detail, or null where it does not hold. Those that are noticed elsewhere are not in it. */
export function conditionsOf(facts: AlarmFacts): Conditions {
  const { heart, replication, machines, refused, config, configuration } = facts;
  const configurationDigest = config.digest;
  const peer = heart?.peer.heard === true ? heart.peer : null;
  const takesPart = heart?.role === "active" || heart?.role === "standby";
  const theirs = peer?.configurationDigest ?? null;
  const differs = theirs !== null && !configurationDigest.startsWith(theirs);
  const incomplete = peer !== null && takesPart && replication.connected && !replication.synchronised;
  return {
    "heart-gone": heart === null ? "" : null,
    "path-silent": peer === null ? null : silentPaths(heart?.paths ?? []),
    "segment-not-askable": listed(
      (heart?.segments ?? []).filter(({ askable }) => !askable).map(({ name }) => name),
    ),
    "link-no-carrier": deadPorts(heart?.segments ?? [], config),
    "replication-down": peer !== null && !replication.connected ? "" : null,
    "replication-incomplete": incomplete ? `${replication.direction} over ${replication.path ?? "?"}` : null,
    ...facts.lack,
    "tables-differ": tablesDiffer(config.node, machines),
    "older-protocol":
      replication.version !== null && replication.version < PROTOCOL_VERSION
        ? `version ${replication.version} instead of ${PROTOCOL_VERSION}`
        : null,
    "audit-found-differences": differences(replication.audit),
    "audit-late": replication.audit?.late ?? null,
    "sessions-refused": refused > 0 ? `${refused} sessions` : null,
    // Connected, the nodes know more than that their digests are not the same: that one is on its way.
    "configuration-differs": replication.connected
      ? configuration.difference
      : differs
        ? `${configurationDigest.slice(0, 8)} here, ${theirs.slice(0, 8)} there`
        : null,
    "configuration-not-kept": configuration.storeFault,
  };
}

/** What the last pass found, for as long as it is the last one. */
function differences(audit: AuditState | undefined): string | null {
  const pass = audit?.pass ?? null;
  if (pass === null || audit?.passAgeMs == null) return null;
  const { missing, extra, wrong, repaired, sessions } = pass;
  if (missing + extra + wrong === 0) return null;
  return `${missing} missing, ${extra} extra, ${wrong} wrong, ${repaired} repaired, of ${sessions}`;
}

/** The sizes of both tables where they are known and not the same. */
function tablesDiffer(node: NodeId, { own, peer }: AlarmFacts["machines"]): string | null {
  const theirs = peer?.conntrackMax ?? 0;
  if (own.conntrackMax === 0 || theirs === 0 || own.conntrackMax === theirs) return null;
  return `${node} ${own.conntrackMax}, ${peerOf(node)} ${theirs}`;
}

const listed = (words: readonly string[]): string | null => (words.length === 0 ? null : words.join(", "));

function silentPaths(paths: HeartState["paths"]): string | null {
  const silent = paths.filter(({ heardMsAgo }) => heardMsAgo === null || heardMsAgo > PATH_SILENT_MS);
  return listed(silent.map(({ name, heardMsAgo }) => `${name}${heardMsAgo === null ? ", never heard" : ""}`));
}

/** Of links that are in use, and of the LAN. */
function deadPorts(segments: HeartState["segments"], config: AlarmFacts["config"]): string | null {
  const unused = new Set(config.links.filter(({ enabled }) => !enabled).map(({ name }) => name));
  return listed(
    segments.filter(({ carrier, name }) => !carrier && !unused.has(name)).map(({ name }) => name),
  );
}

/**
 * What is known of keys that do not fit: `unopened` says that datagrams from the peer's address go on arriving which
 * no key opens. Null where nothing speaks for a wrong key.
 */
export function wrongKey(facts: AlarmFacts, unopened: boolean): string | null {
  const { heart, replication, config } = facts;
  if (replication.connected) return null;
  const other = peerOf(config.node);
  const { refusedKey } = replication;
  const theirs = config.peerKeys.join(" or ");
  if (refusedKey?.by === "us")
    return `${other} shows ${refusedKey.key ?? "no key"}; the pair's file of this node lists ${theirs} for ${other}`;
  if (refusedKey?.by === "peer")
    return `${other} refuses the key of this node, ${config.ownKeys.join(" or ")}: its pair's file lists another one for ${config.node}`;
  if (heart === null || heart.peer.heard || !unopened) return null;
  return `what arrives from ${other} was not sealed with ${theirs}, which the pair's file of this node lists for ${other}, or not for this node's key`;
}

const UNOPENED_MS = 3000;

/** Notices whether the heartbeats that no key opens grow in number. */
class UnopenedWatch {
  #count: number | null = null;
  #grewAtMs = Number.NEGATIVE_INFINITY;

  look(heart: HeartState | null, nowMs: number): boolean {
    const count = (heart?.paths ?? []).reduce((sum, { refused }) => sum + (refused.unauthenticated ?? 0), 0);
    if (this.#count !== null && count > this.#count) this.#grewAtMs = nowMs;
    this.#count = count;
    return nowMs - this.#grewAtMs < UNOPENED_MS;
  }
}

const instant = (): Instant => ({ monotonicMs: performance.now(), wallMs: Date.now() });

/** One a daemon. */
export class DaemonAlarms {
  readonly #board = new AlarmBoard();
  readonly #log: (line: string) => void;
  readonly #unopened = new UnopenedWatch();

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Says whether one condition holds now: its detail, or null. To be said regularly, whatever it is. */
  observe(code: DaemonAlarmCode, detail: string | null): void {
    const line = this.#board.observe(code, detail, instant());
    if (line !== null) this.#log(line);
  }

  look(facts: AlarmFacts): void {
    for (const [code, detail] of Object.entries(conditionsOf(facts)))
      this.observe(code as DaemonAlarmCode, detail);
    this.observe("wrong-key", wrongKey(facts, this.#unopened.look(facts.heart, performance.now())));
  }

  get count(): AlarmCount {
    return this.#board.count;
  }

  /** All of this node. Heart's go by what it said last. */
  all(heart: HeartState | null): readonly AlarmState[] {
    return inOrder([...(heart?.alarms ?? []), ...this.#board.raised]);
  }

  view(heart: HeartState | null, node: AlarmsView["node"]): AlarmsView {
    const peer = heart?.peer;
    const { alarms = null, critical = false } = peer ?? {};
    return {
      node,
      alarms: this.all(heart),
      peer: peer?.heard === true && alarms !== null ? { alarms, critical } : null,
    };
  }
}
