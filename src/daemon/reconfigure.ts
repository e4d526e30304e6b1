// A node that runs takes another configuration into effect (ARCHITECTURE.md, "A configuration takes effect under way"). The order is
// everything: new sessions leave a link before its interface goes, an interface goes down before its gate does, and comes up
// after it; who may still be spoken to is let in until the peer has the configuration as well. Whatever is refused on the way, the
// way is gone back. What differs is core/configPlan.ts's business; what is in force on the pair is configKeeper.ts's.

import { setTimeout as sleep } from "node:timers/promises";
import { BoundaryError } from "../base/errors.ts";
import { type Config, servicesOf } from "../core/config.ts";
import {
  type EffectPlan,
  type EffectReport,
  type EndedSessions,
  planEffect,
  whileLeaving,
  withoutLinks,
  withPathsOf,
} from "../core/configPlan.ts";
import type { HeartState } from "../wire/control.ts";
import type { Dresser } from "./dresser.ts";
import type { HeartLink } from "./heartLink.ts";
import type { SlotKeeper } from "./slotKeeper.ts";
import type { Wardrobe } from "./wardrobe.ts";

const LOOK_MS = 100;
/** Heart looks at its gate every 15 ms and tells of it every 500. */
const GATE_LOOK_MS = 700;
const GATED_MS_MAX = 10_000;
/** Of a configuration's digest, as heartbeats carry it. */
const DIGEST_DIGITS = 16;

export type ConfiguredHeart = Pick<
  HeartLink,
  "configure" | "expect" | "config" | "goesBy" | "until" | "state"
>;

export interface ReconfigurerOptions {
  readonly config: Config;
  readonly wardrobe: Pick<Wardrobe, "wear" | "letIn" | "lower" | "guard" | "hang" | "dress" | "moveSlots">;
  readonly dresser: Pick<Dresser, "pause" | "resume">;
  readonly slots: Pick<SlotKeeper, "configure">;
  /** Null while the node starts. */
  readonly heart: () => ConfiguredHeart | null;
  /** Ends a heart on whose gate nothing hangs; another is started. */
  readonly endHeart: (state: HeartState) => void;
  /** Ends the sessions of a link but those translated to `keeps`; how many. */
  readonly endSessions: (linkId: number, keeps: readonly string[]) => Promise<number>;
  /** `config` is in force: whatever else of the daemon goes by it does so from now on. Rejects where that is refused. */
  readonly follow: (config: Config, renewsLog: boolean) => Promise<void>;
  readonly log: (line: string) => void;
}

export class Reconfigurer {
  readonly #options: ReconfigurerOptions;
  #config: Config;
  #isBusy = false;
  #isClosed = false;
  #working: Promise<EffectReport> | null = null;
  /** The way came as far as the log's connection. */
  #renewsLog = false;
  /** Refused both ways: why the log, and what else follows, may still go by the other configuration, or not run; else null. */
  #left: string | null = null;
  #following: Promise<void> = Promise.resolve();
  /** What ended here when the configuration in force took effect. */
  #ended: readonly EndedSessions[] = [];
  /** Ends the wait for the peer; null where nothing waits. */
  #linger: AbortController | null = null;
  #lingering: Promise<void> = Promise.resolve();

  constructor(options: ReconfigurerOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** In force on this node. */
  get config(): Config {
    return this.#config;
  }

  /**
   * Takes `next` into effect. Never rejects: where something is refused, this node runs with what it had before, and the report says
   * what was refused. One at a time.
   */
  async apply(next: Config): Promise<EffectReport> {
    const plan = planEffect(this.#config, next);
    if (plan.kind === "refused") return { ok: false, words: plan.refusals };
    if (plan.kind === "nothing") return { ok: true, words: [] };
    const heart = this.#options.heart();
    if (heart === null || this.#isBusy || this.#isClosed)
      return {
        ok: false,
        words: [heart === null ? "this node is still starting" : "another is taking effect"],
      };
    this.#isBusy = true;
    const renewsLog = plan.renewsLog || this.#left !== null || this.#lacksSessions(next, heart);
    this.#working = this.#apply(next, { ...plan, renewsLog }, heart).finally(() => {
      this.#isBusy = false;
    });
    return this.#working;
  }

  /**
   * A standby ended sessions, for the configuration in force leaves them no way, and `next` does: the active, which may never have
   * gone that far, still has them. They come with a snapshot.
   */
  #lacksSessions(next: Config, heart: ConfiguredHeart): boolean {
    if (heart.state?.role === "active") return false;
    return this.#ended.some(({ link, keeps }) => {
      const again = next.links.find(({ id }) => id === link.id)?.service.addresses ?? [];
      const gone = link.service.addresses.filter(({ address }) => !keeps.includes(address));
      return gone.some(({ address }) => again.some((other) => other.address === address));
    });
  }

  async #apply(next: Config, plan: EffectPlan, heart: ConfiguredHeart): Promise<EffectReport> {
    this.#linger?.abort();
    await this.#lingering;
    const before = this.#config;
    this.#renewsLog = false;
    this.#options.dresser.pause();
    let isWhole = true;
    try {
      await this.#carry(before, next, plan);
      this.#left = null;
      this.#ended = plan.ends;
      const ended = await this.#endSessions(plan);
      return { ok: true, words: [...plan.changes, ...ended] };
    } catch (error) {
      const words = error instanceof BoundaryError ? error.message : `defect: ${(error as Error).stack}`;
      this.#options.log(`configuration: refused on the way, going back: ${words}`);
      const back = await this.#goBack(next, before);
      isWhole = back.length === 0;
      return { ok: false, words: [words.split("\n")[0]!, ...back] };
    } finally {
      this.#options.dresser.resume(isWhole);
      this.#waitForPeer(heart.config);
    }
  }

  /**
   * Heart should go by what is in force. Where it does not (it was started while we were on the way, or something was refused both
   * ways), nothing is raised or taken away behind its gate until it does. A standby's is started anew where it refuses. And so should
   * the log.
   */
  async look(): Promise<void> {
    const heart = this.#options.heart();
    if (heart !== null && this.#left !== null && !this.#isBusy && !this.#isClosed) {
      this.#following = this.#followAgain(this.#left);
      await this.#following;
    }
    const state = heart?.state ?? null;
    if (heart === null || state === null || this.#isBusy || heart.goesBy(state)) return;
    this.#isBusy = true;
    try {
      await heart.configure(heart.config);
      this.#options.log("heart went by another configuration, and goes by ours now");
    } catch (error) {
      this.#options.log(`heart goes by another configuration: ${(error as Error).message}`);
      if (state.role === "active") return;
      this.#options.endHeart(state);
      this.#options.wardrobe.hang();
    } finally {
      this.#isBusy = false;
    }
  }

  async #followAgain(before: string): Promise<void> {
    const { follow, log } = this.#options;
    this.#isBusy = true;
    try {
      await follow(this.#config, true);
      this.#left = null;
      log("configuration: the log goes by the one in force again");
    } catch (error) {
      this.#left = (error as Error).message;
      if (this.#left !== before) log(`configuration: the log does not go by the one in force: ${this.#left}`);
    } finally {
      this.#isBusy = false;
    }
  }

  /** Resolves once nothing is under way; nothing is begun any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#working;
    await this.#following;
    this.#linger?.abort();
    await this.#lingering;
  }

  /** From one to the other, whatever of either is there. @throws BoundaryError in mid-way */
  async #carry(from: Config, to: Config, plan: EffectPlan): Promise<void> {
    const { wardrobe, slots, follow } = this.#options;
    const heart = this.#options.heart()!;
    const wide = withPathsOf(from, to);
    wardrobe.letIn(wide);
    wardrobe.guard();
    const going = [...plan.removed, ...plan.moved].map(({ id }) => Number(id));
    if (going.length > 0) {
      const staying = whileLeaving(from, to);
      if (staying !== null && slots.configure(staying)) wardrobe.moveSlots();
      const gone = servicesOf(from).filter(({ id }) => going.includes(id));
      wardrobe.lower(gone.map(({ device }) => device));
      await heart.configure(withoutLinks(from, going));
    }
    wardrobe.wear(to);
    slots.configure(to);
    wardrobe.hang();
    if (plan.movesLan) await this.#gateOnNewLan();
    await heart.configure(wide);
    wardrobe.dress();
    this.#renewsLog = plan.renewsLog;
    await follow(wide, plan.renewsLog);
    this.#config = to;
  }

  /** Its interface was made anew: heart has noticed, and put its gate there again. */
  async #gateOnNewLan(): Promise<void> {
    await sleep(GATE_LOOK_MS);
    const isGated = (state: HeartState): boolean => state.segments.every(({ gated }) => gated);
    await this.#options.heart()!.until(isGated, "heart's gate is on the LAN's new interface", GATED_MS_MAX);
  }

  /** The same way with the ends exchanged. What is refused there as well is left to whoever mends the dress. */
  async #goBack(from: Config, to: Config): Promise<readonly string[]> {
    const { wardrobe, slots, log } = this.#options;
    try {
      const renewsLog = this.#renewsLog || this.#left !== null;
      await this.#carry(from, to, { ...planEffect(from, to), renewsLog });
      this.#left = null;
      return [];
    } catch (error) {
      const words = `${(error as Error).message.split("\n")[0]} (on the way back; it is mended from now on)`;
      log(`configuration: ${words}`);
      this.#left = words;
      this.#config = to;
      wardrobe.wear(to);
      wardrobe.letIn(to);
      slots.configure(to);
      this.#options.heart()?.expect(to);
      return [words];
    }
  }

  async #endSessions(plan: EffectPlan): Promise<readonly string[]> {
    const words: string[] = [];
    for (const { link, keeps } of plan.ends) {
      try {
        const ended = await this.#options.endSessions(link.id, keeps);
        if (ended > 0) words.push(`link ${link.name}: ${ended} sessions ended, which had no way any more`);
      } catch (error) {
        // They pass nowhere, and time out.
        words.push(`link ${link.name}: ${(error as Error).message}`);
      }
    }
    for (const line of words) this.#options.log(line);
    return words;
  }

  /**
   * `wide` has paths that the configuration in force has not. They stay until the peer has it as well: one that is away may come back
   * with the one before, and could not be told by others.
   */
  #waitForPeer(wide: Config): void {
    const config = this.#config;
    if (wide.paths.length === config.paths.length) return;
    const linger = new AbortController();
    this.#linger = linger;
    this.#lingering = this.#narrow(wide, config, linger.signal);
  }

  async #narrow(wide: Config, config: Config, signal: AbortSignal): Promise<void> {
    const { heart, wardrobe, follow, log } = this.#options;
    const isThere = (): boolean =>
      heart()?.state?.peer.configurationDigest === config.digest.slice(0, DIGEST_DIGITS);
    while (!isThere() && !signal.aborted) await sleep(LOOK_MS);
    if (signal.aborted) return;
    try {
      await heart()?.configure(config);
      wardrobe.letIn(config);
      wardrobe.guard();
      await follow(config, planEffect(wide, config).renewsLog);
      log("configuration: the paths of the one before are closed");
    } catch (error) {
      log(`configuration: the paths of the one before stay: ${(error as Error).message}`);
    }
  }
}
