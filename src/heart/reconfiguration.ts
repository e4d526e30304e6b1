// Heart goes on with another configuration while it keeps the gate (docs/election.md §10): sockets are opened beside those that are
// open, the gate is changed in one transaction on another thread, and then everything is exchanged between two turns of the
// driver. Whatever is refused is refused before that: heart goes on as it was. It decides nothing about roles.

import { setTimeout as sleep } from "node:timers/promises";
import { BoundaryError } from "../base/errors.ts";
import { type Config, servicesOf } from "../core/config.ts";
import { originOf } from "../core/configPlan.ts";
import { betweenConfigurations, changesTimers } from "../core/election/configure.ts";
import { electionConfigOf } from "../core/election/election.ts";
import { type ElectionState, holdsGate, SOLO_ANNOUNCEMENTS } from "../core/election/state.ts";
import type { ElectionConfig } from "../core/election/types.ts";
import type { Gate } from "../kernel/gate.ts";
import type { GateService } from "../kernel/gateTable.ts";
import { type LinkInfo, listLinks, openRouteSocket } from "../kernel/interfaces.ts";
import { closeAside } from "../kernel/libc.ts";
import type { Driver } from "./driver.ts";
import type { Paths } from "./paths.ts";
import type { Segments } from "./segments.ts";

const OPERATION = "take over a configuration";
/** A lease that was renewed is renewed again within a heartbeat; where it is not, it has lapsed. */
const RENEWED_MS_MAX = 1000;

export interface ReconfigurationOptions {
  readonly config: Config;
  readonly driver: Driver;
  readonly gate: Gate;
  readonly paths: Paths;
  readonly segments: Segments;
  readonly election: ElectionState;
  log(line: string): void;
}

/** Every interface of the namespace, by name. @throws KernelError */
export function interfacesNow(): ReadonlyMap<string, LinkInfo> {
  const socket = openRouteSocket();
  try {
    return new Map(listLinks(socket).map((link) => [link.name, link]));
  } finally {
    socket.close();
  }
}

/** The services as the gate knows them, in the order of `servicesOf`: what leaves while draining carries their port's MAC. @throws BoundaryError ENODEV */
export function gateServicesOf(config: Config, links: ReadonlyMap<string, LinkInfo>): readonly GateService[] {
  return servicesOf(config).map(({ device, port }) => {
    const portMac = links.get(port)?.mac;
    if (portMac !== undefined) return { device, portMac };
    throw new BoundaryError({
      operation: `find the port ${port}`,
      code: "ENODEV",
      words: "there is no such interface",
    });
  });
}

export class Reconfiguration {
  readonly #options: ReconfigurationOptions;
  #config: Config;
  #isBusy = false;

  constructor(options: ReconfigurationOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** What heart goes by at this moment. */
  get config(): Config {
    return this.#config;
  }

  /**
   * Resolves once heart goes by `next`. Rejects with a BoundaryError where something of it is refused; heart goes on with what
   * it had then. A service interface that is left out has to be down, one that is new has to be there.
   */
  async take(next: Config): Promise<void> {
    if (this.#isBusy)
      throw new BoundaryError({ operation: OPERATION, code: "BUSY", words: "another is being taken over" });
    this.#isBusy = true;
    try {
      await this.#take(next);
    } finally {
      this.#isBusy = false;
    }
  }

  async #take(next: Config): Promise<void> {
    const { gate, paths, segments, driver, log } = this.#options;
    const links = interfacesNow();
    this.#refuseUnguarded(next, links);
    const services = gateServicesOf(next, links);
    const preparedPaths = paths.prepare(next);
    const prepared = this.#orAbandon([preparedPaths], () =>
      segments.prepare(
        next,
        services.map(({ portMac }) => portMac),
      ),
    );
    const before = electionConfigOf(this.#config);
    const after = electionConfigOf(next);
    const isSlow = changesTimers(before, after);
    try {
      if (isSlow) await this.#announceLonger(before, after);
      await gate.reshape(services, next.timers);
      if (isSlow) await this.#renewed();
    } catch (error) {
      preparedPaths.abandon();
      prepared.abandon();
      if (isSlow) this.#becomes(before);
      throw error;
    }
    let closed: readonly number[] = [];
    driver.reconfigure(() => {
      preparedPaths.commit();
      ({ closed } = prepared.commit());
      const origins = originOf(this.#config, next);
      this.#config = next;
      return { kind: "configuration", config: after, origins, carriers: segments.carriers() };
    });
    await Promise.all(closed.map(closeAside));
    log(`configuration ${next.digest.slice(0, 12)}: ${services.map(({ device }) => device).join(", ")}`);
  }

  #orAbandon<T>(others: readonly { abandon(): void }[], prepare: () => T): T {
    try {
      return prepare();
    } catch (error) {
      for (const other of others) other.abandon();
      throw error;
    }
  }

  /** No interface up without its gate (failover §1): whoever leaves one out has taken it down before. */
  #refuseUnguarded(next: Config, links: ReadonlyMap<string, LinkInfo>): void {
    const kept = new Set(servicesOf(next).map(({ device }) => device));
    for (const { device } of servicesOf(this.#config))
      if (!kept.has(device) && links.get(device)?.up === true)
        throw new BoundaryError({
          operation: OPERATION,
          code: "WOULD_BE_UNGUARDED",
          words: `the interface ${device} is up, and nothing would guard it`,
        });
  }

  /** Leases may get longer: that is said, often enough to be heard, before the kernel knows of it (I6). */
  async #announceLonger(before: ElectionConfig, after: ElectionConfig): Promise<void> {
    const between = betweenConfigurations(before, after);
    this.#becomes(between);
    await sleep(SOLO_ANNOUNCEMENTS * Math.max(before.timers.heartbeatMs, between.timers.heartbeatMs));
  }

  /** Leases may have got shorter: the one in the kernel is, once it was renewed. */
  async #renewed(): Promise<void> {
    const { driver, election } = this.#options;
    const before = driver.counters.renewed;
    const deadline = performance.now() + RENEWED_MS_MAX;
    while (holdsGate(election) && driver.counters.renewed === before && performance.now() < deadline)
      await sleep(election.config.timers.heartbeatMs);
  }

  /** The same segments. */
  #becomes(config: ElectionConfig): void {
    const { driver, segments } = this.#options;
    driver.reconfigure(() => ({
      kind: "configuration",
      config,
      origins: config.segments.map((_, index) => index),
      carriers: segments.carriers(),
    }));
  }
}
