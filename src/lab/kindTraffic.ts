// Sessions of every kind through the pair, as one thing: who sits where, what is held back at the ends so that a session
// stays half open, and the orders to the process that has both ends. What became of them is decided in kinds.ts.

import { run } from "./commands.ts";
import { type KindName, type KindSession, kindOf } from "./kinds.ts";
import { ipBatch } from "./namespaces.ts";
import { isInstalled } from "./requirements.ts";
import { type Call, SIPP, startCall } from "./sipCalls.ts";
import { portOf } from "./traffic/channels.ts";
import type { Seat } from "./traffic/probe.ts";
import { startTraffic } from "./traffic/process.ts";
import type { World } from "./world.ts";

/** A kind that this machine cannot make. Calls need a program of others. */
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
  /** Exit codes of the callers whose calls were set up, once they have ended; 0: with BYE, which was answered. */
  callsEnded(): Promise<readonly number[]>;
  stop(): void;
}

export interface KindTrafficOptions {
  readonly families: readonly (4 | 6)[];
  /** After so long their callers end the calls. */
  readonly callsLastMs: number;
}

/**
 * Sessions of each kind and family, each with a host and a server's address of its own: a protocol without ports
 * has one session between two addresses, and two that are translated to one address would be the same one.
 */
const PER_KIND = 3;
const HOLD_TABLE = "understudy-lab-hold";
/** Last part of the far addresses. */
const FAR_FIRST = 101;
const SIP_PORT = 5060;
const VOICE_NEAR = 16_000;
const VOICE_FAR = 18_000;
const WITHOUT_SIPP = `${SIPP.program} is not installed (Debian: apt-get install ${SIPP.debianPackage})`;

interface Place {
  readonly host: string;
  readonly nearPid: number;
  readonly near: string;
  readonly far: string;
  readonly family: 4 | 6;
}

export async function startKinds(world: World, options: KindTrafficOptions): Promise<KindTraffic> {
  const farPid = world.pids.get("internet")!;
  const places = options.families.flatMap((family) => placesOf(world, family, FAR_FIRST));
  await addFarAddresses(farPid, places);
  const process = startTraffic("kinds", { environment: world.environment });
  const calls: Call[] = [];
  let seed = 0;
  let callKinds = 0;
  /** Each kind of call has far addresses of its own: a called one listens at SIP's port, and is one alone. */
  const callSeats = async (failures: string[]): Promise<readonly Seat[]> => {
    callKinds += 1;
    const first = FAR_FIRST + 10 * callKinds;
    const callPlaces = options.families.flatMap((family) => placesOf(world, family, first));
    await addFarAddresses(farPid, callPlaces);
    const seats = callPlaces.map(async (place): Promise<readonly Seat[]> => {
      seed += 1;
      const own = { ...place, farPid, seed };
      const [nearPort, farPort] = [VOICE_NEAR + 2 * own.seed, VOICE_FAR + 2 * own.seed];
      const sipPort = SIP_PORT + callKinds;
      const where = { ...own, nearPort, farPort, sipPort };
      const call = await startCall(world, where, options.callsLastMs, failures);
      if (call === null) return [];
      calls.push(call);
      return [{ ...own, voice: { nearPort, farPort, announced: call.announced } }];
    });
    return (await Promise.all(seats)).flat();
  };
  return {
    perKind: PER_KIND,
    open: async (kinds) => {
      const failures: string[] = [];
      const missing: MissingKind[] = [];
      const sessions: { readonly kind: KindName; readonly seat: Seat }[] = [];
      for (const kind of kinds) {
        if (kindOf(kind).call !== true)
          for (const place of places) {
            seed += 1;
            sessions.push({ kind, seat: { ...place, farPid, seed } });
          }
        else if (isInstalled(SIPP.program))
          sessions.push(...(await callSeats(failures)).map((seat) => ({ kind, seat })));
        else missing.push(...options.families.map((family) => ({ kind, family, why: WITHOUT_SIPP })));
      }
      const opened = await process.order<OpenedKinds>("open", { sessions });
      return {
        missing: [...missing, ...opened.missing],
        failures: [...failures, ...opened.failures],
      };
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
    callsEnded: () => Promise.all(calls.map(({ ended }) => ended)),
    stop: () => {
      process.stop();
      for (const call of calls) call.stop();
    },
  };
}

async function addFarAddresses(inside: number, places: readonly Place[]): Promise<void> {
  const lines = places.map(
    ({ far, family }) => `addr replace ${far}/${family === 4 ? "32" : "128 nodad"} dev lo\n`,
  );
  await ipBatch(inside, lines.join(""));
}

function placesOf(world: World, family: 4 | 6, first: number): readonly Place[] {
  const { hosts, server } = world.topology;
  return hosts.slice(0, PER_KIND).map((host, index) => ({
    host: host.name,
    nearPid: world.pids.get(host.name)!,
    near: family === 4 ? host.v4 : host.v6,
    far:
      family === 4
        ? server.v4.replace(/\d+$/, String(first + index))
        : server.v6.replace(/[^:]+$/, String(first + index)),
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
