// Port 1148, watched: what the kernel's guard has dropped and from whom, and whether the replication segment is the
// nodes' own. It looks and says; who is let in is decided in the kernel (core/guard.ts).

import { type Config, type PathConfig, servicesOf } from "../core/config.ts";
import { droppedBy, type GuardReading, judgeGuard } from "../core/guard.ts";
import { GuardReader } from "../kernel/guardTable.ts";
import { listNeighbours } from "../kernel/neighbours.ts";
import {
  ETH_P_ARP,
  ETH_P_IPV6,
  NEIGHBOUR_DISCOVERY,
  openPacketSocket,
  type PacketSocket,
} from "../kernel/packetSocket.ts";
import { ThirdParties } from "./thirdParties.ts";

/** The first path of replication where it has a cable of its own; null where it shares a port with a service. */
export function dedicatedPath(config: Config): PathConfig | null {
  const ports = new Set(servicesOf(config).map(({ port }) => port));
  const first = config.paths.find(({ replication }) => replication);
  return first === undefined || ports.has(first.device) ? null : first;
}

export type Observe = (
  code: "foreign-traffic-1148" | "flood-1148" | "replication-segment-shared",
  detail: string | null,
) => void;

export class GuardWatch {
  readonly #config: Config;
  readonly #observe: Observe;
  readonly #log: (line: string) => void;
  readonly #reader = new GuardReader();
  readonly #path: PathConfig | null;
  readonly #parties: ThirdParties;
  #sockets: readonly PacketSocket[] = [];
  #reading: GuardReading | null = null;
  #surplus: readonly string[] = [];
  #silenced = false;

  /** Opens its sockets; a segment that cannot be listened to is told once, and not watched. @throws KernelError */
  constructor(config: Config, observe: Observe, log: (line: string) => void) {
    this.#config = config;
    this.#observe = observe;
    this.#log = log;
    this.#path = dedicatedPath(config);
    this.#parties = new ThirdParties(this.#path?.device ?? "");
    if (this.#path !== null) this.#sockets = this.#listen(this.#path.device);
  }

  /** Dropped packets by reason as of the last look; null where the guard was not there. */
  get dropped(): Readonly<Record<string, number>> | null {
    return this.#reading === null ? null : droppedBy(this.#reading);
  }

  /** To be called every second or so. Never throws: a watch that fails must not take the daemon with it. */
  look(): void {
    try {
      this.#lookAtPort();
      this.#lookAtSegment();
      this.#silenced = false;
    } catch (error) {
      if (!this.#silenced) this.#log(`port 1148 is not watched: ${(error as Error).message}`);
      this.#silenced = true;
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
    this.#sockets = [];
    this.#reader.close();
  }

  #lookAtPort(): void {
    const reading = this.#reader.read();
    const findings =
      reading === null
        ? { foreign: null, flood: null, surplus: [] }
        : judgeGuard(this.#reading, reading, this.#config.paths, this.#surplus);
    this.#reading = reading;
    this.#surplus = findings.surplus;
    this.#observe("foreign-traffic-1148", findings.foreign);
    this.#observe("flood-1148", findings.flood);
  }

  #lookAtSegment(): void {
    const path = this.#path;
    if (path === null || this.#sockets.length === 0) return;
    for (const socket of this.#sockets) socket.drain((frame) => this.#parties.hear(frame));
    const peer = listNeighbours([path.device]).find(({ address }) => address === path.remote);
    this.#observe("replication-segment-shared", this.#parties.judge(peer?.mac ?? null));
  }

  #listen(device: string): PacketSocket[] {
    const opened: PacketSocket[] = [];
    try {
      opened.push(openPacketSocket(device, ETH_P_ARP));
      opened.push(openPacketSocket(device, ETH_P_IPV6, NEIGHBOUR_DISCOVERY));
    } catch (error) {
      this.#log(`${device} is not listened to for third parties: ${(error as Error).message}`);
    }
    return opened;
  }
}
