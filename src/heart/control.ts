// Heart's control socket: the daemon's reports in, the state out. It runs in the event loop's turns, never in the
// driver's, and only feeds and reads.

import { type ControlPeer, type ControlServer, serveControl } from "../admin/control.ts";
import { BoundaryError } from "../base/errors.ts";
import type { Config } from "../core/config.ts";
import { factsDigest } from "../core/configFacts.ts";
import { viewOf } from "../core/election/describe.ts";
import type { ElectionState } from "../core/election/state.ts";
import type { DaemonFacts, ElectionEffect, ElectionInput } from "../core/election/types.ts";
import { readHeartConfig } from "../core/heartConfig.ts";
import type { DaemonReport, HeartMessage, HeartRequest, HeartState } from "../wire/control.ts";
import { readHeartRequest } from "../wire/heartRequests.ts";
import type { Driver } from "./driver.ts";
import type { Paths } from "./paths.ts";
import type { Segments } from "./segments.ts";
import type { Notices } from "./state.ts";

/** Subscribers hear of every change at once, and of the counters this often. */
const PUSH_MS = 500;
/** The longest request is the largest configuration; reading one this long takes about a millisecond. */
const REQUEST_BYTES_MAX = 128 * 1024;

export interface StateSources {
  readonly election: ElectionState;
  /** What heart goes by at the moment. */
  readonly config: () => Config;
  readonly driver: Driver;
  readonly notices: Notices;
  readonly paths: Paths;
  readonly segments: Segments;
  readonly realTime: boolean;
}

export interface HeartControl {
  /** The machine's answer to a command goes to who asked. */
  answer(effect: Extract<ElectionEffect, { kind: "answer-command" }>): void;
  /** Something that is shown has changed. */
  changed(): void;
  close(): Promise<void>;
}

export interface HeartControlOptions {
  readonly path: string;
  readonly sources: StateSources;
  feed(input: ElectionInput): void;
  learnWitnesses(segment: number, addresses: readonly string[]): void;
  /** Goes on with another configuration. Rejects with a BoundaryError where it is refused. */
  configure(config: Config): Promise<void>;
}

/** Serves heart's socket. Throws a BoundaryError where another heart of this node answers there. */
export async function serveHeart(options: HeartControlOptions): Promise<HeartControl> {
  const { sources, feed } = options;
  const subscribers = new Set<ControlPeer<HeartMessage>>();
  const waiting = new Map<number, (message: HeartMessage) => void>();
  let daemon: ControlPeer<HeartMessage> | null = null;
  let commands = 0;
  let dirty = false;

  const push = (): void => {
    dirty = false;
    const message: HeartMessage = { kind: "state", state: stateOf(sources) };
    for (const peer of subscribers) if (!peer.push(message) && peer.gone) subscribers.delete(peer);
    if (daemon?.gone === true) {
      daemon = null;
      feed({ kind: "daemon-gone" });
    }
  };
  const timer = setInterval(push, PUSH_MS);
  const changed = (): void => {
    // Once a turn of the event loop, however much changed in it.
    if (!dirty) setImmediate(push);
    dirty = true;
  };

  /** Numbers of requests are the client's; several clients may use the same, so the machine gets one of ours. */
  const command = (kind: "handover" | "leave", request: number): Promise<HeartMessage> =>
    new Promise((resolve) => {
      commands += 1;
      waiting.set(commands, (message) => resolve({ ...message, request } as HeartMessage));
      feed({ kind: "command", command: kind, request: commands });
    });

  const answer = (
    request: HeartRequest,
    peer: ControlPeer<HeartMessage>,
  ): HeartMessage | null | Promise<HeartMessage> => {
    switch (request.kind) {
      case "daemon": {
        daemon = peer;
        feed({ kind: "daemon", facts: factsOf(request) });
        return null;
      }
      case "witnesses":
        options.learnWitnesses(request.segment, request.addresses);
        return null;
      case "readiness":
        feed({ kind: "readiness", readiness: request.readiness });
        return null;
      case "daemon-restarting":
        feed({ kind: "daemon-restarting" });
        return null;
      case "subscribe":
        subscribers.add(peer);
        return { kind: "state", state: stateOf(sources) };
      case "state":
        return { kind: "state", request: request.request, state: stateOf(sources) };
      case "handover":
      case "leave":
        return command(request.kind, request.request);
      case "configure":
        return configure(request, options).finally(changed);
    }
  };

  const server: ControlServer = await serveControl<HeartRequest, HeartMessage>({
    path: options.path,
    service: { read: readHeartRequest, answer },
    lineBytesMax: REQUEST_BYTES_MAX,
  });
  return {
    answer: ({ request, ok, message }) => {
      const settle = waiting.get(request);
      waiting.delete(request);
      settle?.(ok ? { kind: "done", request, message } : { kind: "refused", request, reason: message });
    },
    changed,
    close: () => {
      clearInterval(timer);
      return server.close();
    },
  };
}

/** What the machine needs of the daemon's report. */
function factsOf(report: DaemonReport): DaemonFacts {
  const { ready, dressed, position, sessions, alarms, critical } = report;
  const configurationDigest = report.configurationDigest.slice(0, 16);
  return { ready, dressed, position, sessions, configurationDigest, alarms, critical };
}

/** The answer to an order to go on with another configuration. */
async function configure(
  { request, config }: Extract<HeartRequest, { readonly kind: "configure" }>,
  options: HeartControlOptions,
): Promise<HeartMessage> {
  const read = readHeartConfig(config, options.sources.config());
  if (!read.ok) return { kind: "refused", request, reason: read.reason };
  try {
    await options.configure(read.config);
    return { kind: "done", request, message: "heart goes by it" };
  } catch (error) {
    if (error instanceof BoundaryError) return { kind: "refused", request, reason: error.message };
    throw error;
  }
}

function stateOf(sources: StateSources): HeartState {
  const { election, driver, notices, paths, segments, realTime } = sources;
  const config = sources.config();
  const view = viewOf(election);
  return {
    node: config.node,
    pid: process.pid,
    factsDigest: factsDigest(config),
    role: view.role,
    term: view.term,
    gate: view.gate,
    reasons: view.reasons,
    leaseMs: view.leaseMs,
    sinceMs: notices.sinceMs,
    peer: view.peer,
    paths: paths.states(),
    segments: segments.states(driver.gatePresent),
    lastTakeover: notices.lastTakeover,
    lastChange: notices.lastChange,
    alarms: notices.alarms,
    realTime,
    gateRepairs: driver.counters.gateRepairs,
    renewals: {
      done: driver.counters.renewed,
      refused: driver.counters.refused,
      longestMs: Math.round(driver.counters.longestRenewalMs * 10) / 10,
    },
  };
}
