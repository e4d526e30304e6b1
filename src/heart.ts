// Heart: the small process that keeps heartbeat, election, lease and announcement, and nothing else (system §4).
// It builds its parts and starts the driver; every rule is in core/election. It runs detached: the daemon may die,
// be restarted or be upgraded beside it.

import { randomBytes } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { BoundaryError, ExitCode } from "./base/errors.ts";
import { millis, term } from "./base/units.ts";
import { type Config, servicesOf } from "./core/config.ts";
import { deadline, electionConfigOf, step } from "./core/election/election.ts";
import { createElection, type ElectionState } from "./core/election/state.ts";
import { readHeartConfig } from "./core/heartConfig.ts";
import { type HeartControl, serveHeart } from "./heart/control.ts";
import { Driver } from "./heart/driver.ts";
import { createLogger } from "./heart/logger.ts";
import { Paths } from "./heart/paths.ts";
import { gateServicesOf, interfacesNow, Reconfiguration } from "./heart/reconfiguration.ts";
import { NO_RESCUE, type Rescue, startRescue } from "./heart/rescue.ts";
import { Segments } from "./heart/segments.ts";
import { Notices } from "./heart/state.ts";
import { openTermStore, readTerms, type TermStore } from "./heart/termStore.ts";
import { createGate, type Gate } from "./kernel/gate.ts";
import { openRouteSocket, setLinkUp } from "./kernel/interfaces.ts";
import { confineTo, interfaceIndex, processors, setProcessName, setRealTimePriority } from "./kernel/libc.ts";
import { loadIdentity } from "./peer/identity.ts";

/** Above the kernel's own threads for interrupts would be too much; above everything of users' is needed. */
const REAL_TIME_PRIORITY = 40;
const TERMS_MS_MAX = 1000;
/** At most 15 bytes; `ss` and `lsof` show it. */
const PROCESS_NAME = "understudyheart";

const log = createLogger("heart");

/** Those that are there: one that is missing may be why the gate could not be put back. */
function setLinksUp(config: Config, up: boolean): void {
  const socket = openRouteSocket();
  try {
    for (const { device } of servicesOf(config))
      if (interfaceIndex(device) !== 0) setLinkUp(socket, device, up);
  } finally {
    socket.close();
  }
}

/**
 * Puts the gate back where it was removed or changed. Installing lets nothing through at any instant, so the interfaces
 * stay up: going down would cost them their IPv4 routes. Where it fails there is no gate, hence no interface
 * (failover §1), until it works; the daemon then mends what hangs on them.
 */
function gateRepair(config: () => Config, gate: Gate): () => void {
  let isDown = false;
  return () => {
    try {
      gate.install();
    } catch (error) {
      if (!isDown) setLinksUp(config(), false);
      isDown = true;
      throw error;
    }
    if (isDown) setLinksUp(config(), true);
    isDown = false;
  };
}

/**
 * A dump of the session table keeps a processor for tens of milliseconds where the kernel is not preemptible, and no
 * priority helps: heart has one processor to itself as far as Understudy is concerned (the daemon keeps off it), and
 * where somebody else's system call holds that one, it is moved (heart/rescue.ts).
 */
function takeProcessor(realTime: boolean): Rescue {
  const cpus = processors();
  if (cpus.length <= 1) return NO_RESCUE;
  confineTo(cpus.slice(-1));
  if (!realTime) return NO_RESCUE;
  return startRescue(cpus, REAL_TIME_PRIORITY + 1, (error) =>
    log(`nobody rescues heart from a processor that the kernel holds: ${error.message}`),
  );
}

async function main(config: Config): Promise<void> {
  const realTime = setRealTimePriority(REAL_TIME_PRIORITY);
  const rescue = takeProcessor(realTime);
  const identity = loadIdentity(config.keyFile);
  const stored = await readTerms(config.stateDirectory);
  const services = gateServicesOf(config, interfacesNow());
  // Ports first: one that is taken is told before the kernel is touched.
  const paths = new Paths(config, identity.privateKey, randomBytes(16));
  const gate: Gate = createGate({
    services,
    leaseMs: config.timers.leaseMs,
    soloLeaseMs: config.timers.soloLeaseMs,
  });
  const adopted = gate.adopt();
  if (adopted === null) gate.install();
  const segments = new Segments(
    config,
    services.map(({ portMac }) => portMac),
  );
  const notices = new Notices(log);
  const terms = openTermStore(config.stateDirectory);
  const election: ElectionState = createElection(electionConfigOf(config), {
    now: millis(performance.now()),
    stored: { current: term(stored.current), reserved: term(stored.reserved) },
    // Seconds of the wall clock: no two lives of this node have the same.
    skip: Math.floor(Date.now() / 1000),
    adopted,
    carriers: segments.carriers(),
  });
  const driver = new Driver({
    machine: {
      step: (now, input, effects) => step(election, now, input, effects),
      deadline: () => deadline(election),
    },
    gate,
    terms,
    log,
    ports: {
      get descriptors() {
        return [...paths.descriptors, ...segments.descriptors];
      },
      drain: (feed, isReady) => {
        paths.drain(feed);
        segments.drain(feed, (index) => isReady(paths.descriptors.length + index));
      },
      sendHeartbeat: (message) => paths.send(message),
      probe: (segment, broadcast) => segments.probe(segment, broadcast),
      askWitness: (segment) => segments.askWitness(segment),
      announce: () => segments.announce(),
    },
    onEffect: (effect) => {
      if (effect.kind === "alarm") notices.alarm(effect);
      else if (effect.kind === "role-changed") notices.roleChanged(effect);
      else control.answer(effect);
      control.changed();
    },
    repairGate: gateRepair(() => reconfiguration.config, gate),
    rescue,
  });
  const reconfiguration = new Reconfiguration({ config, driver, gate, paths, segments, election, log });
  const control = await serveHeart({
    path: join(config.runtimeDirectory, "heart.sock"),
    sources: { election, config: () => reconfiguration.config, driver, notices, paths, segments, realTime },
    feed: (input) => driver.feed(input),
    learnWitnesses: (segment, addresses) => segments.learnWitnesses(segment, addresses),
    configure: (next) => reconfiguration.take(next),
  });
  process.on("SIGTERM", () => driver.feed({ kind: "command", command: "leave", request: 0 }));
  process.on("SIGINT", () => driver.feed({ kind: "command", command: "leave", request: 0 }));
  log(`started, node ${config.node}, real-time priority ${realTime ? REAL_TIME_PRIORITY : "not allowed"}`);
  // Of a callback in the event loop: survived and counted as one inside a turn.
  process.on("uncaughtException", (error) => driver.defect("in the event loop", error));
  await driver.run();
  rescue.stop();
  await depart(reconfiguration.config, gate, control, terms);
}

/** Leaves nothing of heart's in the kernel. */
async function depart(config: Config, gate: Gate, control: HeartControl, terms: TermStore): Promise<void> {
  // No gate, no interface (failover §1), not even for the moment until the daemon has taken the interfaces away.
  try {
    setLinksUp(config, false);
  } catch {
    // Gone already, with the daemon's dress: nothing is left that would need a gate.
  }
  gate.remove();
  // At once: whoever found this socket now would take the word of a heart that has no gate.
  await control.close();
  // A disk that hangs is not waited for: what is not written by then was not claimed.
  await Promise.race([terms.idle(), sleep(TERMS_MS_MAX)]);
  log("left: the gate is shut and removed");
  await log.flush(1000);
}

/** Where heart could not start, its reason goes to the file that the daemon reads, and to standard error. */
function fail(error: unknown, lastWords: string | undefined): never {
  const words = error instanceof BoundaryError ? error.message : ((error as Error).stack ?? String(error));
  if (lastWords !== undefined) appendFileSync(lastWords, `${words}\n`);
  process.stderr.write(`heart: ${words}\n`);
  process.exit(ExitCode.Failed);
}

/** What the daemon runs with, as it wrote it down for us. @throws BoundaryError */
function readConfiguration(file: string): Config {
  const operation = `read the configuration (${file})`;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new BoundaryError({ operation, code: "UNREADABLE", words: (error as Error).message });
  }
  const read = readHeartConfig(value, null);
  if (read.ok) return read.config;
  throw new BoundaryError({ operation, code: "INVALID", words: read.reason });
}

setProcessName(PROCESS_NAME);
const { values } = parseArgs({
  options: { configuration: { type: "string" }, "last-words": { type: "string" } },
});
try {
  await main(readConfiguration(values.configuration ?? "/run/understudy/heart.json"));
  process.exit(ExitCode.Ok);
} catch (error) {
  fail(error, values["last-words"]);
}
