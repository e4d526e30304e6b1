// Sessions of every kind through the pair, as one thing: who sits where, what is held back at the ends so that a session
// stays half open, and the orders to the process that has both ends. What became of them is decided in kinds.ts.

import { run } from "./commands.ts";
import type { KindName, KindSession } from "./kinds.ts";
import { ipBatch } from "./namespaces.ts";
import { portOf } from "./traffic/channels.ts";
import type { Seat } from "./traffic/probe.ts";
import { startTraffic } from "./traffic/process.ts";
import type { World } from "./world.ts";

/** A kind that this machine cannot make. */
export interface MissingKind {
  readonly kind: KindName;
  readonly family: 4 | 6;
  readonly why: string;
}

export interface OpenedKinds {
  /** What this kernel has no sockets for. */
  readonly missing: readonly MissingKind[];
  /** Sessions that did not open, and why. */
  readonly failures: readonly string[];
}

export interface KindTraffic {
  /** So many sessions of each kind and family are opened. */
  readonly perKind: number;
  /** Opens them and waits until they stand, the half open ones left out. */
  open(kinds: readonly KindName[]): Promise<OpenedKinds>;
  /** Drops what would make half-open sessions whole, or lets it pass. */
  hold(on: boolean): Promise<void>;
  /** From here on silence counts. */
  mark(): Promise<void>;
  /** Far ends that waited for it begin to talk. */
  wake(): Promise<void>;
  report(): Promise<readonly KindSession[]>;
  stop(): void;
}

/**
 * Sessions of each kind and family, each with a host and a server's address of its own: a protocol without ports
 * has one session between two addresses, and two that are translated to one address would be the same one.
 */
const PER_KIND = 3;
const HOLD_TABLE = "understudy-lab-hold";

interface Place {
  readonly host: string;
  readonly nearPid: number;
  readonly near: string;
  readonly far: string;
  readonly family: 4 | 6;
}

export async function startKinds(world: World, families: readonly (4 | 6)[]): Promise<KindTraffic> {
  const farPid = world.pids.get("internet")!;
  const places = families.flatMap((family) => placesOf(world, family));
  const lines = places.map(
    ({ far, family }) => `addr replace ${far}/${family === 4 ? "32" : "128 nodad"} dev lo\n`,
  );
  await ipBatch(farPid, lines.join(""));
  const process = startTraffic("kinds", { environment: world.environment });
  let seed = 0;
  return {
    perKind: PER_KIND,
    open: async (kinds) => {
      const sessions = kinds.flatMap((kind) =>
        places.map((place) => {
          seed += 1;
          return { kind, seat: { ...place, farPid, seed } satisfies Seat };
        }),
      );
      return process.order<OpenedKinds>("open", { sessions });
    },
    hold: async (on) => {
      await Promise.all(
        [...new Set(places.map(({ nearPid }) => nearPid))].map((inside) =>
          holdAt(inside, on, `tcp sport ${portOf("tcp-syn-received")}`),
        ),
      );
      await holdAt(farPid, on, `tcp dport ${portOf("tcp-syn-sent")}`);
    },
    mark: async () => {
      await process.order("mark");
    },
    wake: async () => {
      await process.order("wake");
    },
    report: async () => (await process.order<{ sessions: readonly KindSession[] }>("report")).sessions,
    stop: () => process.stop(),
  };
}

function placesOf(world: World, family: 4 | 6): readonly Place[] {
  const { hosts, server } = world.topology;
  return hosts.slice(0, PER_KIND).map((host, index) => ({
    host: host.name,
    nearPid: world.pids.get(host.name)!,
    near: family === 4 ? host.v4 : host.v6,
    far:
      family === 4
        ? server.v4.replace(/\d+$/, String(101 + index))
        : server.v6.replace(/[^:]+$/, String(101 + index)),
    family,
  }));
}

/** Packets that `what` describes end at the door of this namespace, untold. */
async function holdAt(inside: number, on: boolean, what: string): Promise<void> {
  const table = `table inet ${HOLD_TABLE}`;
  const input = on
    ? `${table} {\n chain in {\n  type filter hook input priority 0; policy accept;\n  ${what} drop\n }\n}\n`
    : `delete ${table}\n`;
  await run(["nft", "-f", "-"], { inside, input });
}
