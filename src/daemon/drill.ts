// The driver of core/drill.ts, on both nodes: hands over, asks the other node to hand back and answers when it is asked, probes,
// keeps the last report on disk and on the other node, and begins what the schedule wants. It judges nothing.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Millis, millis, peerOf } from "../base/units.ts";
import type { Config } from "../core/config.ts";
import {
  createDrill,
  type DrillEffect,
  type DrillFacts,
  type DrillInput,
  deadline,
  describe,
  isScheduled,
  step,
} from "../core/drill.ts";
import { laterOf, recordOf, reportIn } from "../core/drillRecord.ts";
import type { HeartState } from "../wire/control.ts";
import type { DrillReport, ReadinessView } from "../wire/controlReadiness.ts";
import type { DrillRecord } from "../wire/messagesDrill.ts";
import type { MessageOf } from "../wire/peer.ts";
import { DrillProbe } from "./drillProbe.ts";

export type DrillMessage = MessageOf<"drillReturn" | "drillAnswer" | "drillReport">;

export interface DrillOptions {
  readonly config: () => Pick<Config, "node" | "lan" | "drill" | "stateDirectory">;
  readonly heart: () => HeartState | null;
  /** Entries of this node's table; and whether it is whole, by its own word. */
  readonly own: () => { readonly sessions: number; readonly ready: boolean };
  /** Why the pair is not ready, in words; null: it is. */
  readonly notReady: () => Promise<string | null>;
  readonly handover: () => Promise<string>;
  /** False: the other node is not connected, or does not know drills. */
  readonly send: (message: DrillMessage) => boolean;
  readonly log: (line: string) => void;
  /** For tests. */
  readonly probe?: (config: Pick<Config, "lan">) => Pick<DrillProbe, "serves" | "close" | "tally"> | null;
  readonly wallClock?: () => Date;
}

const LOOK_MS = 50;
const SCHEDULE_MS = 10_000;
/** A minute of the schedule is looked at several times; one that was drilled in is not drilled in again. */
const SAME_MINUTE_MS = 90_000;
const rounded = (ms: number | null | undefined): number | null => (ms == null ? null : Math.round(ms));
const now = (): Millis => millis(performance.now());

export class DrillKeeper {
  readonly #options: DrillOptions;
  readonly #state: ReturnType<typeof createDrill>;
  readonly #waiting: ((report: DrillReport) => void)[] = [];
  #probe: Pick<DrillProbe, "serves" | "close" | "tally"> | null = null;
  #last: DrillReport | null = null;
  #timer: NodeJS.Timeout | null = null;
  readonly #schedule: NodeJS.Timeout;

  constructor(options: DrillOptions) {
    this.#options = options;
    this.#state = createDrill(options.config().node);
    this.#last = this.#stored();
    this.#schedule = setInterval(() => void this.lookAtSchedule(), SCHEDULE_MS);
    this.#schedule.unref();
  }

  /** The last one that this node knows of, whoever ran it. */
  get last(): DrillReport | null {
    return this.#last;
  }

  /** Where the one is that this node runs, in words; null: none. */
  get underWay(): string | null {
    return describe(this.#state);
  }

  /** Runs one, and resolves to its report; to a refusal at once. */
  async run({
    forced,
    scheduled = false,
  }: {
    readonly forced: boolean;
    readonly scheduled?: boolean;
  }): Promise<DrillReport> {
    const notReady = await this.#options.notReady();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      const at = this.#wallClock().toISOString();
      this.#input({ kind: "start", at, scheduled, forced, notReady, facts: this.#facts() });
    });
  }

  /** Heart spoke. */
  follow(heart: HeartState | null): void {
    if (this.#state.phase === "idle") return;
    this.#probe?.serves(heart !== null && heart.gate !== "shut");
    this.#input({ kind: "facts", facts: this.#facts() });
  }

  /** The other node is connected, and speaks a version that knows drills. */
  up(): void {
    if (this.#last !== null) this.#tell(this.#last);
  }

  message(message: DrillMessage): void {
    switch (message.kind) {
      case "drillReturn":
        void this.#handBack(message.number);
        return;
      case "drillAnswer":
        this.#input({ ...message, kind: "answered" });
        return;
      case "drillReport":
        this.#keep(laterOf(this.#last, reportIn(message.report)));
    }
  }

  /** Begins what the configuration wants to begin in this minute. */
  async lookAtSchedule(): Promise<void> {
    const { drill } = this.#options.config();
    const clock = this.#wallClock();
    const moment = { day: clock.getDay(), hour: clock.getHours(), minute: clock.getMinutes() };
    if (drill === null || !isScheduled(drill, moment) || this.#options.heart()?.role !== "active") return;
    if (this.#last !== null && Math.abs(clock.getTime() - Date.parse(this.#last.at)) < SAME_MINUTE_MS) return;
    if (this.#state.phase !== "idle") return;
    const { result, words } = await this.run({ forced: false, scheduled: true });
    this.#options.log(`drill by the schedule: ${result}: ${words}`);
  }

  close(): void {
    clearInterval(this.#schedule);
    this.#input({ kind: "stop" });
  }

  #wallClock(): Date {
    return (this.#options.wallClock ?? (() => new Date()))();
  }

  #facts(): DrillFacts {
    const { config, heart, own } = this.#options;
    const state = heart();
    const { sessions, ready } = own();
    const peer = state?.peer.heard === true ? state.peer : null;
    const theirs = peer?.sessions ?? null;
    return {
      role: state?.role ?? "idle",
      cause: state?.lastChange?.cause ?? "",
      peerHeard: peer !== null,
      peerRole: peer?.role ?? null,
      ready,
      peerReady: peer?.ready ?? false,
      count: config().node === "a" ? { a: sessions, b: theirs } : { a: theirs, b: sessions },
    };
  }

  #input(input: DrillInput): void {
    const effects: DrillEffect[] = [];
    step(this.#state, now(), input, effects);
    for (const effect of effects) this.#perform(effect);
    this.#plan();
  }

  #plan(): void {
    const at = deadline(this.#state);
    if (at === null && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    } else if (at !== null) {
      // What is counted and what is ready changes without heart's word.
      this.#timer ??= setInterval(() => this.follow(this.#options.heart()), LOOK_MS);
    }
  }

  #perform(effect: DrillEffect): void {
    switch (effect.kind) {
      case "probe":
        if (effect.on) this.#openProbe();
        else this.#closeProbe();
        return;
      case "hand-over":
        // Until it has ended in a report, it has failed: whoever reads this was not there at its end.
        this.#write({ ...this.#unfinished(), words: `the daemon of ${this.#state.node} ended in mid-drill` });
        this.#options.log("drill: handing over");
        void this.#handOver(effect.number);
        return;
      case "ask-back":
        this.#options.log(`drill: ${peerOf(this.#state.node)} is asked to hand back`);
        if (!this.#options.send({ kind: "drillReturn", number: effect.number }))
          queueMicrotask(() =>
            this.#input({ kind: "answered", number: effect.number, ok: false, words: "it is not connected" }),
          );
        return;
      case "done":
        this.#done(effect.report, effect.kept);
    }
  }

  async #handOver(number: number): Promise<void> {
    const answer = await this.#options.handover().then(
      (words) => ({ ok: true, words }),
      (error: Error) => ({ ok: false, words: error.message }),
    );
    this.#input({ kind: "handed-over", number, ...answer });
  }

  async #handBack(number: number): Promise<void> {
    this.#options.log("drill: the role is asked back");
    const answer = await this.#options.handover().then(
      (words) => ({ ok: true, words }),
      (error: Error) => ({ ok: false, words: error.message }),
    );
    this.#options.send({ kind: "drillAnswer", number, ...answer });
  }

  #openProbe(): void {
    try {
      this.#probe = (this.#options.probe ?? DrillProbe.open)(this.#options.config());
    } catch (error) {
      this.#options.log(`drill: without probes: ${(error as Error).message}`);
    }
  }

  #closeProbe(): void {
    this.#probe?.close();
  }

  #done(report: DrillReport, kept: boolean): void {
    const tally = this.#probe?.tally;
    this.#probe = null;
    const measured: DrillReport = {
      ...report,
      switches: report.switches.map((each, index) => ({
        ...each,
        ms: Math.round(each.ms),
        gapMs: rounded(tally?.gapsMs[index]),
      })),
      probes: tally === undefined ? null : { sent: tally.sent, lost: tally.lost },
    };
    if (kept) {
      this.#options.log(`drill: ${measured.result}: ${measured.words}`);
      this.#keep(measured);
      this.#tell(measured);
    }
    // A refusal is an answer to the last who asked; the end of one is the first's.
    const settle = kept ? this.#waiting.shift() : this.#waiting.pop();
    settle?.(measured);
  }

  #tell(report: DrillReport): void {
    const record = recordOf(report);
    if (record !== null) this.#options.send({ kind: "drillReport", report: record });
  }

  #keep(report: DrillReport): void {
    if (report === this.#last) return;
    this.#last = report;
    this.#write(report);
  }

  #unfinished(): DrillReport {
    const { node, at, scheduled, forced, before } = this.#state;
    const sessions = { before, away: null, after: null };
    return {
      result: "failed",
      words: "",
      node,
      at,
      seconds: 0,
      scheduled,
      forced,
      sessions,
      switches: [],
      probes: null,
    };
  }

  get #file(): string {
    return join(this.#options.config().stateDirectory, "drill.json");
  }

  #write(report: DrillReport): void {
    try {
      writeFileSync(this.#file, `${JSON.stringify(recordOf(report))}\n`, { mode: 0o600 });
    } catch (error) {
      this.#options.log(`drill: the report is not kept on disk: ${(error as Error).message}`);
    }
  }

  /** Null: there was none, or what is there is none. */
  #stored(): DrillReport | null {
    try {
      return reportIn(JSON.parse(readFileSync(this.#file, "utf8")) as DrillRecord);
    } catch {
      return null;
    }
  }
}

/** Why the pair is not ready for a drill, as the verdict says; null: it is. */
export const whyNoDrill = (
  view: ReadinessView | null,
  text: (view: ReadinessView) => string,
): string | null =>
  view === null ? "this node is still starting" : view.verdict === "ready" ? null : text(view);
