// The daemon: builds the rooms and wires them. It reads the configuration, dresses the kernel around heart's gate,
// replicates, and answers the command line. Sees everything; decides nothing: who is active is heart's business,
// what goes where is core's.
//
// The order of a start matters (failover §1): interfaces down, heart's gate, interfaces up, rules, event socket,
// forwarding; only then heart is told that this node could forward.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { checkMachine, readConfiguration } from "./admin/configFiles.ts";
import { type ControlServer, controlAnswers, serveControl } from "./admin/control.ts";
import { BoundaryError, ExitCode } from "./base/errors.ts";
import { SESSIONS_SHOWN_MAX } from "./base/limits.ts";
import { type Config, servicesOf } from "./core/config.ts";
import { ConfigErrorCode, formatErrors } from "./core/configTree.ts";
import { DaemonAlarms } from "./daemon/alarms.ts";
import { ConfigKeeper, openKeptStore } from "./daemon/configKeeper.ts";
import { Dresser } from "./daemon/dresser.ts";
import { DrillKeeper, whyNoDrill } from "./daemon/drill.ts";
import { GuardWatch } from "./daemon/guardWatch.ts";
import { dismissForeignHeart, type HeartLink, linkHeart } from "./daemon/heartLink.ts";
import { NodeStateSource } from "./daemon/nodeState.ts";
import { pairView } from "./daemon/pairView.ts";
import { assertPortsFree } from "./daemon/ports.ts";
import { ReadinessKeeper } from "./daemon/readiness.ts";
import { Reconfigurer } from "./daemon/reconfigure.ts";
import { Recorder } from "./daemon/recorder.ts";
import { createReplicator, type Replicator } from "./daemon/replicator.ts";
import { assertStarts, renewHeart, replaceDaemon, restartHeart } from "./daemon/restart.ts";
import { SlotKeeper } from "./daemon/slotKeeper.ts";
import { started } from "./daemon/starting.ts";
import { linkViews, VERSION } from "./daemon/views.ts";
import { Wardrobe } from "./daemon/wardrobe.ts";
import { confineTo, processors, setNiceness, setProcessName } from "./kernel/libc.ts";
import { listNeighbours } from "./kernel/neighbours.ts";
import { endSessions } from "./kernel/sessionEnd.ts";
import { listSessions } from "./kernel/sessions.ts";
import { type Identity, loadIdentity } from "./peer/identity.ts";
import { readinessText } from "./views/readiness.ts";
import type { DaemonMessage, DaemonRequest, HeartState, PairView } from "./wire/control.ts";
import { readDaemonRequest } from "./wire/controlRequests.ts";

const REPORT_MS = 200;
const READINESS_MS = 100;
const WITNESSES_MS = 2000;
const MEND_MS = 5000;
const TABLES_MS = 250;
const NICENESS = -10;
const GUARD_MS = 1000;
const MACHINE_MS = 10_000;
const WITNESSES_PER_SEGMENT = 16;
const GATED_MS_MAX = 10_000;
const HANDOVER_ACKNOWLEDGE_MS = 3000;

const log = (line: string): void => {
  process.stderr.write(`${new Date().toISOString()} daemon: ${line}\n`);
};

/**
 * Runs this node's daemon until it is told to stop. Resolves to the exit code; what the user has to know was
 * written to standard error.
 */
export async function runDaemon(nodeFile: string): Promise<number> {
  setProcessName("understudy");
  // Off heart's processor (heart.ts says why), and before other people's work: what waits here is the standby's state.
  const cpus = processors();
  if (cpus.length > 1) confineTo(cpus.slice(0, -1));
  setNiceness(NICENESS);
  const read = readConfiguration(nodeFile);
  const errors = read.ok ? checkMachine(read.config) : read.errors;
  if (!read.ok || errors.length > 0) {
    process.stderr.write(`${formatErrors(errors)}\n`);
    // A port may come late; a file that does not hold gets no better by waiting (packaging/understudy.service).
    const late = read.ok && errors.every(({ code }) => code === ConfigErrorCode.Absent);
    return late ? ExitCode.Refused : ExitCode.BadConfiguration;
  }
  const daemon = new Daemon(read.config);
  try {
    await daemon.start();
  } catch (error) {
    await daemon.abandon();
    throw error;
  }
  const code = await daemon.ended;
  return daemon.restarting ? replaceDaemon(nodeFile) : code;
}

class Daemon {
  #config: Config;
  readonly #slots: SlotKeeper;
  readonly #wardrobe: Wardrobe;
  readonly #nodeState: NodeStateSource;
  readonly #readiness: ReadinessKeeper;
  readonly #drill: DrillKeeper;
  readonly #recorder: Recorder;
  #keeper: ConfigKeeper | null = null;
  readonly #alarms = new DaemonAlarms(log);
  #control: ControlServer | null = null;
  #heart: HeartLink | null = null;
  #replicator: Replicator | null = null;
  #identity: Identity | null = null;
  readonly #reconfigurer: Reconfigurer;
  #guard: GuardWatch | null = null;
  #guarded = false;
  /** The kernel was touched: before that there is nothing of this start to take back, but the guard. */
  #hung = false;
  readonly #dresser: Dresser;
  #isStarted = false;
  readonly #whole = Promise.withResolvers<void>();
  #stopAsked = false;
  #stopping: Promise<void> | null = null;
  /** It has ended in order to be replaced: everything in the kernel stays, and so does heart. */
  restarting = false;
  #finish: (code: number) => void = () => undefined;
  readonly ended: Promise<number>;

  constructor(config: Config) {
    this.#config = config;
    this.#slots = new SlotKeeper({ config, log });
    this.#wardrobe = new Wardrobe(config, this.#slots, log);
    this.#recorder = new Recorder({ node: config.node, log });
    this.#nodeState = new NodeStateSource({
      config: () => this.#config,
      slots: this.#slots,
      moveSlots: () => {
        // Otherwise they come with the dress.
        if (this.#dresser.dressed) this.#wardrobe.moveSlots();
      },
      told: () => this.#replicator?.stateLog.told() ?? null,
      onChange: (subject) => this.#replicator?.stateLog.changed(subject),
    });
    this.#dresser = new Dresser({
      config: () => this.#config,
      goesBy: (heart) => this.#heart?.goesBy(heart) ?? false,
      wardrobe: this.#wardrobe,
      log,
      onMended: (repaired, fault) => {
        this.#alarms.observe("dress-repaired", repaired);
        this.#alarms.observe("dress-refused", fault);
        this.#report();
      },
      onPortsReplaced: (heart) => renewHeart(heart, log),
    });
    this.#reconfigurer = new Reconfigurer({
      config,
      wardrobe: this.#wardrobe,
      dresser: this.#dresser,
      slots: this.#slots,
      heart: () => (this.#isStarted ? this.#heart : null),
      endHeart: (state) => process.kill(state.pid, "SIGKILL"),
      endSessions,
      follow: (next, renewsLog) => this.#goBy(next, renewsLog),
      log,
    });
    this.#readiness = new ReadinessKeeper({
      config: () => this.#config,
      heart: () => this.#heart?.state ?? null,
      replicator: () => this.#replicator,
      dressed: () => this.#dresser.dressed,
      machines: () => this.#nodeState.machines(),
      difference: () => this.#keeper?.difference ?? null,
      lastDrill: () => this.#drill.last,
      drilling: () => this.#drill.underWay,
    });
    this.#drill = new DrillKeeper({
      config: () => this.#config,
      heart: () => this.#heart?.state ?? null,
      own: () => this.#readiness.own(),
      notReady: async () => whyNoDrill(this.#readiness.view(await this.#heart?.ask()), readinessText),
      handover: () => this.#handover(),
      send: (message) => this.#replicator?.sendDrill(message) ?? false,
      log,
    });
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** @throws BoundaryError; what was begun by then is taken back by `abandon`. */
  async start(): Promise<void> {
    const config = this.#config;
    // Asked in mid-start, it finishes starting first: half a dress is taken off by nobody.
    const askToStop = (): void => {
      this.#stopAsked = true;
      if (this.#isStarted) void this.stop();
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, askToStop);
    log(
      `Understudy ${VERSION}, node ${config.node} of pair ${config.pair}, configuration ${config.digest.slice(0, 12)}`,
    );
    this.#identity = loadIdentity(config.keyFile);
    this.#control = await serveControl<DaemonRequest, DaemonMessage>({
      path: join(config.runtimeDirectory, "control.sock"),
      service: { read: readDaemonRequest, answer: (request) => this.#answer(request) },
    });
    // After the control socket: nobody else on this node has the versions open.
    const keeper = new ConfigKeeper({
      config,
      ...openKeptStore(config.stateDirectory, log),
      running: () => this.#config,
      // The peer may offer a newer one before the kernel is dressed.
      effect: (next) => this.#whole.promise.then(() => this.#reconfigurer.apply(next)),
      log,
      onChange: () => this.#report(),
    });
    this.#keeper = keeper;
    // Everything that may be refused without touching the kernel comes before the kernel is touched.
    await assertPortsFree(config);
    this.#wardrobe.guard();
    this.#guarded = true;
    this.#guard = this.#openGuard(config);
    // Listens for sessions from here on: before any gate of ours can open (replication §2).
    this.#replicator = await this.#openReplicator(config);
    await dismissForeignHeart(config, log);
    this.#hung = true;
    this.#dresser.hang();
    this.#heart = await linkHeart({
      config,
      log,
      onState: (state) => this.#follow(state),
      onLost: () => this.#follow(null),
    });
    const { started } = this.#heart;
    await this.#heart.until(
      (state) => this.#dresser.mayTrust(state, started),
      "heart's gate is in place",
      GATED_MS_MAX,
    );
    this.#dresser.dress(this.#heart.state!);
    this.#report();
    this.#every(REPORT_MS, () => this.#report());
    this.#every(READINESS_MS, () => this.#heart?.readiness(this.#readiness.look()?.own ?? null));
    this.#every(WITNESSES_MS, () => this.#tellWitnesses());
    // Somebody else's `ip rule flush` raises no alarm: what should be true is compared with what is, now and then.
    this.#every(MEND_MS, () => this.#dresser.look());
    // Nothing is forwarded while they are gone, so a flush (where the kernel lets others do it) is noticed sooner.
    this.#every(TABLES_MS, () => {
      if (this.#dresser.dressed && !this.#wardrobe.tablesStand()) this.#dresser.look();
    });
    this.#every(GUARD_MS, () => {
      this.#guard?.look();
      void this.#reconfigurer.look();
    });
    this.#every(MACHINE_MS, () => this.#nodeState.look());
    this.#nodeState.askNft();
    process.on("SIGHUP", () => void this.#restart("daemon").catch((error: Error) => log(error.message)));
    log("ready to serve");
    this.#isStarted = true;
    this.#whole.resolve();
    if (this.#stopAsked) void this.stop();
  }

  /** Takes back what a failed start had begun. A node that runs already, or its heart alone, keeps all of its own. */
  async abandon(): Promise<void> {
    const started = this.#heart?.started ?? false;
    if (started) await this.#heart?.leave().catch(() => undefined);
    this.#heart?.close();
    await this.#replicator?.close();
    this.#keeper?.close();
    this.#guard?.close();
    const heartLives = await controlAnswers(join(this.#config.runtimeDirectory, "heart.sock"));
    if (this.#hung && (started || !heartLives)) this.#wardrobe.undress();
    else if (this.#guarded && !heartLives) this.#wardrobe.unguard();
    await this.#control?.close();
  }

  /** Hands over where the standby is ready, then leaves nothing of ours in the kernel. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    log("stopping");
    let code: number = ExitCode.Ok;
    this.#drill.close();
    try {
      await this.#reconfigurer.close();
      await this.#heart?.leave();
      this.#heart?.close();
      await this.#replicator?.close();
      await this.#recorder.stop();
      this.#keeper?.close();
      this.#guard?.close();
      this.#wardrobe.undress();
    } catch (error) {
      log(`while stopping: ${(error as Error).message}`);
      code = ExitCode.Failed;
    }
    // Closed last, and after the answer to `stop` went out.
    await sleep(10);
    await this.#control?.close();
    log("stopped");
    this.#finish(code);
  }

  /** Ends this daemon in order to be replaced: heart goes on, the kernel keeps everything. */
  restart(): Promise<void> {
    this.#stopping ??= this.#leaveForNext();
    return this.#stopping;
  }

  async #leaveForNext(): Promise<void> {
    log("restarting: heart and the kernel go on by themselves");
    // The answer to `restart` goes out first.
    await sleep(10);
    this.restarting = true;
    await this.#reconfigurer.close();
    this.#drill.close();
    this.#heart?.announceRestart();
    await this.#control?.close();
    await this.#replicator?.close();
    await this.#recorder.stop();
    this.#keeper?.close();
    this.#heart?.close();
    this.#finish(ExitCode.Ok);
  }

  #every(intervalMs: number, work: () => void): void {
    const timer = setInterval(() => {
      if (this.#stopping !== null) clearInterval(timer);
      else work();
    }, intervalMs);
  }

  #follow(state: HeartState | null): void {
    if (state !== null)
      this.#replicator?.setRole(state.role, state.term, state.peer.heard ? state.peer.role : null);
    if (state !== null) this.#keeper?.setRole(state.role, state.peer.heard && state.peer.role === "active");
    this.#nodeState.follow(state);
    this.#drill.follow(state);
    if (this.#stopping === null) this.#dresser.follow(state);
  }

  #report(): void {
    const [replicator, configuration] = [this.#replicator, this.#keeper];
    if (replicator === null || configuration === null || this.#heart === null) return;
    const { ready, reasons, position, sessions, refused } = replicator.report();
    const configurationDigest = this.#config.digest;
    const heart = this.#heart.state;
    if (this.#dresser.dressed)
      this.#alarms.look({
        heart,
        replication: replicator.state(),
        machines: this.#nodeState.machines(),
        refused,
        lack: this.#readiness.lack,
        config: this.#config,
        configuration,
      });
    this.#heart.report({
      kind: "daemon",
      ready: ready && this.#dresser.dressed,
      dressed: this.#dresser.dressed,
      reasons: this.#dresser.dressed ? reasons : ["forwarding is not set up yet", ...reasons],
      position,
      sessions,
      configurationDigest,
      ...this.#alarms.count,
    });
  }

  /** Neighbours that the kernel knows on each segment, for heart to ask: third parties that prove a cable. */
  #tellWitnesses(): void {
    const services = servicesOf(this.#config);
    services.forEach((service, segment) => {
      const known = listNeighbours([service.device]).map((neighbour) => neighbour.address);
      this.#heart?.witnesses(segment, known.slice(0, WITNESSES_PER_SEGMENT));
    });
  }

  async #answer(request: DaemonRequest): Promise<DaemonMessage> {
    switch (request.kind) {
      case "show":
        if (request.what === "pair")
          return { kind: "pair", request: request.request, view: this.#pairView() };
        if (request.what === "readiness")
          return {
            kind: "readiness",
            request: request.request,
            view: started(this.#readiness.view(await this.#heart?.ask()), "show readiness"),
          };
        if (request.what === "alarms") {
          const view = this.#alarms.view(this.#heart?.state ?? null, this.#config.node);
          return { kind: "alarms", request: request.request, view };
        }
        if (request.what === "links")
          return {
            kind: "links",
            request: request.request,
            links: await linkViews(this.#config, this.#slots.inForce, this.#nodeState.knownLinks()),
          };
        return {
          kind: "sessions",
          request: request.request,
          ...(await listSessions(request.filter, Math.min(request.limit, SESSIONS_SHOWN_MAX))),
        };
      case "handover":
        return { kind: "done", request: request.request, message: await this.#handover() };
      case "drill":
        return {
          kind: "drilled",
          request: request.request,
          report: await this.#drill.run({ forced: request.force }),
        };
      case "restart":
        return { kind: "done", request: request.request, message: await this.#restart(request.what) };
      case "stop":
        void this.stop();
        return { kind: "done", request: request.request, message: "stopping" };
      case "apply":
        return started(this.#keeper, "look at the configuration").apply(request);
      case "configuration":
        return started(this.#keeper, "look at the configuration").version(request);
      case "record": {
        const message = await this.#recorder.obey(request.order, () => this.#replicator?.reconnect());
        return { kind: "done", request: request.request, message };
      }
      case "versions":
        return started(this.#keeper, "look at the configuration").versions(request);
    }
  }

  /** Everything of the daemon but the kernel's dress and heart goes by `config` from now on. @throws BoundaryError */
  async #goBy(config: Config, renewsLog: boolean): Promise<void> {
    this.#config = config;
    this.#guard?.close();
    this.#guard = this.#openGuard(config);
    if (renewsLog) {
      const replicator = this.#replicator;
      this.#replicator = null;
      await replicator?.close();
      this.#replicator = await this.#openReplicator(config);
    } else {
      this.#replicator?.configure(config);
    }
    this.#follow(this.#heart?.state ?? null);
    this.#replicator?.stateLog.changed("slots");
    this.#report();
  }

  async #openReplicator(config: Config): Promise<Replicator> {
    return createReplicator({
      config,
      identity: this.#identity!,
      node: this.#nodeState,
      tap: () => this.#recorder.tap,
      configuration: this.#keeper!,
      drill: this.#drill,
      log,
      onChange: () => this.#report(),
    });
  }

  #openGuard(config: Config): GuardWatch {
    return new GuardWatch(config, (code, detail) => this.#alarms.observe(code, detail), log);
  }

  async #restart(what: "daemon" | "heart"): Promise<string> {
    if (what === "daemon") {
      assertStarts(this.#config.files.node);
      void this.restart();
      return "restarting";
    }
    const heart = started(this.#heart, "restart heart");
    return restartHeart({
      state: () => heart.state,
      handover: () => this.#handover(),
      leaseMs: this.#config.timers.leaseMs,
    });
  }

  async #handover(): Promise<string> {
    const heart = started(this.#heart, "hand over");
    const replicator = started(this.#replicator, "hand over");
    if (heart.state?.role === "active" && !(await replicator.waitAcknowledged(HANDOVER_ACKNOWLEDGE_MS)))
      throw new BoundaryError({
        operation: "hand over",
        code: "NOT_ACKNOWLEDGED",
        words: "the standby has not acknowledged every session in time",
        advice: "`understudy show pair` says what it waits for.",
      });
    return heart.handover();
  }

  #pairView(): PairView {
    const heart = this.#heart?.state ?? null;
    return pairView({
      config: this.#config,
      dressed: this.#dresser.dressed,
      heart,
      alarms: this.#alarms,
      guard: this.#guard?.dropped ?? null,
      replicator: started(this.#replicator, "show pair"),
      machines: this.#nodeState.machines(),
      readiness: this.#readiness.view(heart),
    });
  }
}
