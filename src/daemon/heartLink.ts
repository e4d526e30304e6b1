// The daemon's side of heart: finds the one that runs or starts one, keeps the connection, starts another where it
// died. Heart outlives the daemon on purpose (a restarted daemon is not a failover), so it is a detached process.

import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type ControlClient, connectControl, controlAnswers } from "../admin/control.ts";
import { BoundaryError } from "../base/errors.ts";
import type { Config } from "../core/config.ts";
import { factsDigest } from "../core/configFacts.ts";
import type { DaemonReport, HeartMessage, HeartRequest, HeartState } from "../wire/control.ts";

const START_MS_MAX = 10_000;
const POLL_MS = 20;
const RESTART_PAUSE_MS = 500;
const LEAVE_MS_MAX = 10_000;
const GONE_MS_MAX = 5000;
const ASK_MS_MAX = 500;
/** Longer leases are announced for some heartbeats before they are taken. */
const CONFIGURE_MS_MAX = 20_000;

export interface HeartLinkOptions {
  readonly config: Config;
  readonly onState: (state: HeartState) => void;
  /** Heart is gone; another is being started. */
  readonly onLost: () => void;
  readonly log: (line: string) => void;
}

export interface HeartLink {
  readonly state: HeartState | null;
  /** True where this link started the heart that it speaks to. */
  readonly started: boolean;
  report(report: DaemonReport): void;
  witnesses(segment: number, addresses: readonly string[]): void;
  /** For its heartbeats: ten-thousandths, or null. */
  readiness(readiness: number | null): void;
  /** Its newest word, asked for; the last one it said where it does not answer. */
  ask(): Promise<HeartState | null>;
  /** Announces that this daemon is about to be replaced: heart is patient for longer (failover §6). */
  announceRestart(): void;
  /** The message of a done handover. Rejects with a BoundaryError that carries heart's reason. */
  handover(): Promise<string>;
  /** Hands over where possible, and ends heart: its gate is removed then. */
  leave(): Promise<void>;
  /**
   * Has heart go on with `config`, and every heart that is started from now on. Rejects with a BoundaryError, with heart's reason
   * where it refused: it goes on as it was then.
   */
  configure(config: Config): Promise<void>;
  /** What the next heart is to go by, where the one of now cannot be asked. */
  expect(config: Config): void;
  /** What heart is to go by; whether it does, `goesBy` tells. */
  readonly config: Config;
  /** The heart that speaks goes by `config`, as it says itself. */
  goesBy(state: HeartState): boolean;
  /** Waits until `condition` holds of heart's state. Rejects after `timeoutMs`, saying `what` was waited for. */
  until(condition: (state: HeartState) => boolean, what: string, timeoutMs: number): Promise<void>;
  close(): void;
}

type Client = ControlClient<HeartRequest, HeartMessage>;

const heartProgram = fileURLToPath(new URL("../heart.ts", import.meta.url));

/**
 * Starts heart, detached, with what the daemon runs with: the files may have been edited since. Its log goes where ours goes, its last words to a file for the message if it fails.
 */
function spawnHeart(config: Config): { readonly exited: () => string | null } {
  const lastWords = join(config.runtimeDirectory, "heart.err");
  const file = join(config.runtimeDirectory, "heart.json");
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  const fd = openSync(lastWords, "w", 0o600);
  // Young garbage is collected on the spot and by this thread: no second thread to be scheduled first.
  const flags = ["--disable-warning=ExperimentalWarning", "--single-threaded-gc", "--max-semi-space-size=1"];
  const child = spawn(
    process.execPath,
    [...flags, heartProgram, "--configuration", file, "--last-words", lastWords],
    {
      detached: true,
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  closeSync(fd);
  child.unref();
  let ended: string | null = null;
  child.once("error", (error) => {
    ended = error.message;
  });
  child.once("exit", (code, signal) => {
    ended = wordsIn(lastWords) || `it ended (${signal ?? `exit code ${code}`})`;
  });
  return { exited: () => ended };
}

/** What heart left behind; nothing where somebody cleared the directory meanwhile. */
function wordsIn(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "";
  }
}

const connectHeart = (
  path: string,
  options: { onMessage?: (message: HeartMessage) => void; onClose?: () => void } = {},
): Promise<Client> => connectControl<HeartRequest, HeartMessage>({ path, server: "heart", ...options });

/** Asks heart to leave and waits until it is gone; one that hangs (a disk that never answers) is ended by its id. */
async function sendAway(client: Client, path: string, pid: number | null): Promise<void> {
  // A heart that ends at once may hang up before its answer is read.
  await client.request({ kind: "leave" }, LEAVE_MS_MAX).catch(() => undefined);
  const deadline = performance.now() + GONE_MS_MAX;
  while (await controlAnswers(path)) {
    if (performance.now() > deadline) {
      if (pid === null)
        throw new BoundaryError({ operation: "end heart", code: "TIMEOUT", words: "it does not go" });
      process.kill(pid, "SIGKILL");
      return;
    }
    await sleep(POLL_MS);
  }
}

/**
 * Before anything is dressed: a heart that runs with another configuration guards other interfaces than ours. It goes on with this
 * one where it can; otherwise it has to leave first (it hands over where it can). One that agrees stays, and nobody notices
 * this start.
 */
export async function dismissForeignHeart(config: Config, log: (line: string) => void): Promise<void> {
  const path = join(config.runtimeDirectory, "heart.sock");
  if (!(await controlAnswers(path))) return;
  const client = await connectHeart(path);
  try {
    const answer = await client.request({ kind: "state" });
    if (answer.kind !== "state" || answer.state.factsDigest === factsDigest(config)) return;
    // It refuses where an interface that is up would lose its gate, or one is not there yet.
    const taken = await client.request({ kind: "configure", config: { ...config } }, CONFIGURE_MS_MAX);
    if (taken.kind === "done") {
      log("heart ran with another configuration, and goes by this one now");
      return;
    }
    const why = taken.kind === "refused" ? taken.reason : "an answer of another kind";
    log(`heart runs with another configuration: it leaves, and the next one reads this one (${why})`);
    await sendAway(client, path, answer.state.pid);
  } finally {
    client.close();
  }
}

class Link implements HeartLink {
  state: HeartState | null = null;
  started = false;
  readonly #options: HeartLinkOptions;
  readonly #path: string;
  #config: Config;
  #facts: string;
  #client: Client | null = null;
  #closed = false;
  #lastReport: DaemonReport | null = null;

  constructor(options: HeartLinkOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#facts = factsDigest(options.config);
    this.#path = join(options.config.runtimeDirectory, "heart.sock");
  }

  /** Connects to the heart that runs, else starts one. @throws BoundaryError with heart's own last words */
  async connect(): Promise<void> {
    const deadline = performance.now() + START_MS_MAX;
    let child: ReturnType<typeof spawnHeart> | null = null;
    if (!(await controlAnswers(this.#path))) {
      child = spawnHeart(this.#config);
      this.started = true;
      while (!(await controlAnswers(this.#path))) {
        const words = child.exited();
        if (words !== null) throw new BoundaryError({ operation: "start heart", code: "HEART_ENDED", words });
        if (performance.now() > deadline)
          throw new BoundaryError({ operation: "start heart", code: "TIMEOUT", words: "it does not answer" });
        await sleep(POLL_MS);
      }
    }
    this.#client = await connectHeart(this.#path, {
      onMessage: (message) => this.#take(message),
      onClose: () => void this.#lost(),
    });
    this.#client.send({ kind: "subscribe" });
    if (this.#lastReport !== null) this.#client.send(this.#lastReport);
  }

  #take(message: HeartMessage): void {
    if (message.kind !== "state") return;
    this.state = message.state;
    this.#options.onState(message.state);
  }

  async #lost(): Promise<void> {
    this.#client = null;
    this.state = null;
    if (this.#closed) return;
    this.#options.log("heart is gone; starting another");
    this.#options.onLost();
    while (!this.#closed) {
      try {
        await this.connect();
        return;
      } catch (error) {
        this.#options.log(`heart does not start: ${(error as Error).message}`);
        await sleep(RESTART_PAUSE_MS);
      }
    }
  }

  report(report: DaemonReport): void {
    this.#lastReport = report;
    this.#client?.send(report);
  }

  witnesses(segment: number, addresses: readonly string[]): void {
    this.#client?.send({ kind: "witnesses", segment, addresses });
  }

  readiness(readiness: number | null): void {
    // A heart of before would refuse it each time, and say so in its log.
    if (this.state?.peer.readiness !== undefined) this.#client?.send({ kind: "readiness", readiness });
  }

  async ask(): Promise<HeartState | null> {
    const answer = await this.#client?.request({ kind: "state" }, ASK_MS_MAX).catch(() => null);
    return answer?.kind === "state" ? answer.state : this.state;
  }

  async configure(config: Config): Promise<void> {
    const operation = "have heart take over the configuration";
    if (this.#client === null)
      throw new BoundaryError({ operation, code: "NO_HEART", words: "it does not run" });
    const answer = await this.#client.request({ kind: "configure", config: { ...config } }, CONFIGURE_MS_MAX);
    if (answer.kind !== "done") {
      const words = answer.kind === "refused" ? answer.reason : "an answer of another kind";
      throw new BoundaryError({ operation, code: "REFUSED", words });
    }
    this.expect(config);
  }

  expect(config: Config): void {
    this.#config = config;
    this.#facts = factsDigest(config);
  }

  get config(): Config {
    return this.#config;
  }

  goesBy(state: HeartState): boolean {
    return state.factsDigest === this.#facts;
  }

  announceRestart(): void {
    this.#client?.send({ kind: "daemon-restarting" });
  }

  async handover(): Promise<string> {
    const answer = await this.#ask({ kind: "handover" });
    if (answer.kind === "done") return answer.message;
    const words = answer.kind === "refused" ? answer.reason : "an answer of another kind";
    throw new BoundaryError({ operation: "hand over", code: "REFUSED", words });
  }

  async leave(): Promise<void> {
    this.#closed = true;
    const pid = this.state?.pid ?? null;
    if (this.#client !== null) return sendAway(this.#client, this.#path, pid);
    // It died, and the next one may just be starting: that one must not outlive us either.
    if (!(await controlAnswers(this.#path))) return;
    const client = await connectHeart(this.#path);
    try {
      await sendAway(client, this.#path, pid);
    } finally {
      client.close();
    }
  }

  async #ask(request: { readonly kind: "handover" }): Promise<HeartMessage> {
    if (this.#client === null)
      throw new BoundaryError({
        operation: `ask heart to ${request.kind}`,
        code: "NO_HEART",
        words: "it does not run",
      });
    return this.#client.request(request);
  }

  async until(condition: (state: HeartState) => boolean, what: string, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.state === null || !condition(this.state)) {
      if (performance.now() > deadline)
        throw new BoundaryError({ operation: `wait until ${what}`, code: "TIMEOUT" });
      await sleep(POLL_MS);
    }
  }

  close(): void {
    this.#closed = true;
    this.#client?.close();
  }
}

/** Connects to this node's heart, starting it where none runs. */
export async function linkHeart(options: HeartLinkOptions): Promise<HeartLink> {
  const link = new Link(options);
  await link.connect();
  return link;
}
