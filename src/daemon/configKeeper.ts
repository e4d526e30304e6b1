// The configuration as the daemon sees it: the machine of core/configLog.ts with this node's disk, the pair's file, the peer's
// connection and the command line around it. It does what the machine says, in order, and one thing at a time. How a running node
// takes a configuration into effect is reconfigure.ts's business; what is in force is the machine's.

import { checkMachine, configurationWith, type PairText } from "../admin/configFiles.ts";
import { type ConfigStore, openConfigStore, openForgetfulStore } from "../admin/configStore.ts";
import { BoundaryError } from "../base/errors.ts";
import { CONFIGURATION_BYTES_MAX } from "../base/limits.ts";
import { sha256Hex } from "../base/sha256.ts";
import { peerOf, type Role } from "../base/units.ts";
import type { Config } from "../core/config.ts";
import { createConfigLog, deadline, step } from "../core/configLog.ts";
import { boundedReasons } from "../core/configLogLead.ts";
import {
  type ConfigEffect,
  type ConfigInput,
  type ConfigLogState,
  type ConfigMessage,
  candidateOf,
  difference,
  remember,
} from "../core/configLogState.ts";
import { type EffectReport, planEffect } from "../core/configPlan.ts";
import { formatErrors } from "../core/configTree.ts";
import {
  chainOf,
  type Draft,
  findVersion,
  headerFault,
  nameOf,
  startOf,
  versionAfter,
} from "../core/configVersions.ts";
import type { Hello } from "../peer/connection.ts";
import type { DaemonMessage, DaemonRequest } from "../wire/control.ts";
import type {
  ApplyReport,
  ConfigurationVersionLine,
  ConfigurationVersionView,
  PairConfigurationView,
} from "../wire/controlConfiguration.ts";
import type { VersionHeader } from "../wire/messagesConfiguration.ts";
import { readPairFile, withPairFile } from "./pairFile.ts";
import { readableText, refused, textOf, VersionFetch } from "./versionFetch.ts";

type ApplyRequest = Extract<DaemonRequest, { kind: "apply" }>;

export interface ConfigKeeperOptions {
  /** What this node starts with. */
  readonly config: Config;
  readonly store: ConfigStore;
  /** Why `store` forgets, in words; null where it does not. */
  readonly storeFault: string | null;
  /** What this node runs with at this moment. */
  readonly running: () => Config;
  /** Takes a configuration into effect, or leaves everything as it was. It always ends. */
  readonly effect: (next: Config) => Promise<EffectReport>;
  readonly log: (line: string) => void;
  /** What `difference` says may have changed. */
  readonly onChange: () => void;
  /** For tests: the wall clock, and the machine's judgement. */
  readonly now?: () => number;
  readonly checkMachine?: typeof checkMachine;
}

export type KeptStore = Pick<ConfigKeeperOptions, "store" | "storeFault">;

/** The store of this node; one that forgets where its disk cannot keep one: a node that serves is worth more than its history. */
export function openKeptStore(directory: string, log: (line: string) => void): KeptStore {
  try {
    return { store: openConfigStore(directory), storeFault: null };
  } catch (error) {
    if (!(error instanceof BoundaryError)) throw error;
    log(`configuration: ${error.message}`);
    return { store: openForgetfulStore(), storeFault: error.message };
  }
}

/** A configuration that holds on this node, or every reason why it does not, one a line. */
type Judgement =
  | { readonly ok: true; readonly next: Config; readonly changes: readonly string[] }
  | { readonly ok: false; readonly reasons: readonly string[] };

const encoder = new TextEncoder();

/** Whoever gave an order. */
interface Waiter {
  resolve(report: ApplyReport): void;
  reject(error: Error): void;
}

export class ConfigKeeper {
  readonly #options: ConfigKeeperOptions;
  readonly #store: ConfigStore;
  readonly #machine: ConfigLogState;
  readonly #now: () => number;
  #send: ((message: ConfigMessage) => void) | null = null;
  #inputs: ConfigInput[] = [];
  #timer: NodeJS.Timeout | null = null;
  #orders = new Map<number, Waiter>();
  readonly #fetch = new VersionFetch();
  #order = 0;
  #writeFault: string | null = null;
  #closed = false;

  /** @throws BoundaryError where the pair's file cannot be read any more. */
  constructor(options: ConfigKeeperOptions) {
    const { config, store, storeFault } = options;
    this.#options = options;
    this.#store = store;
    this.#writeFault = storeFault;
    this.#now = options.now ?? Date.now;
    const text = readPairFile(config.files.pair);
    const found = startOf({
      node: config.node,
      history: store.history(),
      head: store.head(),
      pending: store.pending(),
      file: { digest: config.digest, textDigest: sha256Hex(text) },
      nowMs: this.#now(),
    });
    this.#machine = createConfigLog(config.node, found, store.history());
    this.#write(() => {
      if (found.isImport) {
        store.put(found.head, text, false);
        store.keep(found.head.id);
      } else if (found.tentative === null) store.drop();
    });
    const how = found.isImport ? ", found on disk" : "";
    const waits =
      found.tentative === null ? "" : `; ${nameOf(found.tentative)} was on its way and is in effect`;
    options.log(`configuration: ${nameOf(found.head)}${how}${waits}`);
  }

  /** Why this node does not run with the peer's configuration, in words; null where it does, or is not connected to it. */
  get difference(): string | null {
    return difference(this.#machine);
  }

  /** Digest of what this node runs with. */
  get running(): string {
    return this.#options.running().digest;
  }

  /** Why versions are not on disk, in words; null where they are. */
  get storeFault(): string | null {
    return this.#writeFault;
  }

  get counters(): Record<string, number> {
    return { ...this.#machine.counters };
  }

  /** What heart says: this node's role, and whether it hears the other one as active. */
  setRole(role: Role, peerActive: boolean): void {
    if (role === this.#machine.role && peerActive === this.#machine.peerActive) return;
    this.#input({ kind: "role", role, peerActive });
  }

  /** A connection of the log is ready; `version` is spoken on it. */
  up(
    hello: Pick<Hello, "role" | "configurationDigest">,
    version: number,
    send: (message: ConfigMessage) => void,
  ): void {
    this.#send = send;
    this.#input({ kind: "up", version, role: hello.role, running: hello.configurationDigest });
  }

  down(): void {
    this.#send = null;
    this.#fetch.fail("the connection was lost");
    this.#input({ kind: "down" });
  }

  peerRole(role: Role): void {
    this.#input({ kind: "peer-role", role });
  }

  message(message: ConfigMessage): void {
    if (message.kind === "configurationVersion") this.#fetch.take(message);
    this.#input({ kind: "message", message });
  }

  /** Answers `apply`: the machine's report, or a refusal. Rejects with a BoundaryError. */
  async apply(request: ApplyRequest): Promise<DaemonMessage> {
    const { source } = request;
    if (source.kind === "in-force") return this.#give(request, null, "", []);
    const text = await this.#sourceText(request);
    const pair = { file: source.kind === "text" ? source.file : "pair.yaml", text };
    const judgement = this.#judge(pair);
    if (!judgement.ok) return applied(request, this.#refusedHere(judgement.reasons));
    const draft: Draft = {
      digest: judgement.next.digest,
      textDigest: sha256Hex(text),
      origin: source.kind === "version" ? "rollback" : "apply",
      author: request.author,
      message: request.message,
      at: this.#now(),
    };
    return this.#give(request, draft, text, judgement.changes);
  }

  /** Answers `configuration`: a version with its text. */
  async version(request: Extract<DaemonRequest, { kind: "configuration" }>): Promise<DaemonMessage> {
    const { of, version } = request;
    const shown = of === "peer" ? await this.#fetchPeer() : this.#own(version);
    return { kind: "configuration", request: request.request, ...shown, pair: this.view() };
  }

  /** Answers `versions`: the newest first. */
  versions({ request, limit }: Extract<DaemonRequest, { kind: "versions" }>): DaemonMessage {
    const { head, history } = this.#machine;
    const chain = new Set(chainOf(history, head).map(({ id }) => id));
    const lines: readonly ConfigurationVersionLine[] = [...this.#store.history().values()]
      .reverse()
      .map((header) => ({ header, inForce: header.id === head.id, inChain: chain.has(header.id) }));
    return {
      kind: "versions",
      request,
      versions: lines.slice(0, limit),
      total: lines.length,
      pair: this.view(),
    };
  }

  view(): PairConfigurationView {
    const { node, head, peer } = this.#machine;
    return {
      node,
      head,
      pending: candidateOf(this.#machine),
      peer: peer?.state?.head ?? null,
      difference: this.difference,
      file: this.#options.config.files.pair,
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const stopping = new BoundaryError({ operation: "apply", code: "STOPPING", words: "this daemon ends" });
    for (const { reject } of this.#orders.values()) reject(stopping);
    this.#fetch.fail("this daemon ends");
    this.#store.close();
  }

  #give(
    request: ApplyRequest,
    draft: Draft | null,
    text: string,
    changes: readonly string[],
  ): Promise<DaemonMessage> {
    this.#order += 1;
    const order = this.#order;
    const base = request.base === null ? null : this.#headerOf(request.base).id;
    const replace = request.replace || request.source.kind === "peer";
    return new Promise((resolve, reject) => {
      const answer = (report: ApplyReport): void => resolve(applied(request, report));
      this.#orders.set(order, { resolve: answer, reject });
      this.#input({ kind: "apply", request: order, draft, text, changes, replace, base });
    });
  }

  async #sourceText({ source }: ApplyRequest): Promise<string> {
    if (source.kind === "version") return this.#own(source.version).text;
    if (source.kind === "peer") return (await this.#fetchPeer()).text;
    const text = source.kind === "text" ? source.text : "";
    if (encoder.encode(text).length <= CONFIGURATION_BYTES_MAX) return text;
    throw refused("apply", `the file has more than ${CONFIGURATION_BYTES_MAX} bytes`);
  }

  #refusedHere(words: readonly string[]): ApplyReport {
    const { node, peer } = this.#machine;
    return {
      outcome: "refused",
      version: null,
      changes: [],
      places: [
        { node, state: "refused", words },
        { node: peerOf(node), state: peer === null ? "absent" : "unchanged", words: [] },
      ],
    };
  }

  #headerOf(reference: string): VersionHeader {
    const found = findVersion(this.#machine.history, this.#machine.head, reference);
    if (!found.ok) throw refused("find a version", found.reason);
    return found.header;
  }

  /** A version of this node's, null: the one in force. */
  #own(reference: string | null): ConfigurationVersionView {
    const header = reference === null ? this.#machine.head : this.#headerOf(reference);
    const text = this.#store.text(header.id);
    if (text === null) throw refused("find a version", `the text of ${nameOf(header)} is not kept any more`);
    return { header, text };
  }

  async #fetchPeer(): Promise<ConfigurationVersionView> {
    const { peer, node } = this.#machine;
    const head = peer?.state?.head;
    if (head === undefined || this.#send === null) {
      const why = peer === null ? "is not connected" : "does not say which configuration it has";
      throw refused("ask the other node", `${peerOf(node)} ${why}`);
    }
    const text = this.#store.text(head.id);
    return text === null ? this.#fetch.ask(head.id, this.#send) : { header: head, text };
  }

  /** Holds a text against this node's own file, its machine, and what a running node can change. */
  #judge(pair: PairText): Judgement {
    const { config } = this.#options;
    const read = configurationWith(config.files.node, pair);
    if (!read.ok) return { ok: false, reasons: formatErrors(read.errors).split("\n") };
    const errors = (this.#options.checkMachine ?? checkMachine)(read.config, pair);
    if (errors.length > 0) return { ok: false, reasons: formatErrors(errors).split("\n") };
    const { kind, changes, refusals } = planEffect(this.#options.running(), read.config);
    return kind === "refused" ? { ok: false, reasons: refusals } : { ok: true, next: read.config, changes };
  }

  /** One input, its effects, and the inputs that these give, in order. */
  #input(input: ConfigInput): void {
    if (this.#closed) return;
    this.#inputs.push(input);
    if (this.#inputs.length > 1) return;
    for (let next = this.#inputs[0]; next !== undefined && !this.#closed; next = this.#inputs[0]) {
      const effects: ConfigEffect[] = [];
      step(this.#machine, performance.now(), next, effects);
      for (const effect of effects) this.#perform(effect);
      this.#inputs.shift();
    }
    this.#arm();
    this.#options.onChange();
  }

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const due = deadline(this.#machine);
    if (due === null || this.#closed) return;
    // A timer may come a moment early.
    const waitMs = Math.max(1, due - performance.now() + 1);
    this.#timer = setTimeout(() => this.#input({ kind: "tick" }), waitMs);
  }

  #perform(effect: ConfigEffect): void {
    switch (effect.kind) {
      case "send":
        this.#send?.(effect.message);
        return;
      case "propose": {
        const { exchange, from, header } = effect;
        const content = encoder.encode(readableText(this.#store, header.id, this.#options.log) ?? "");
        this.#send?.({ kind: "configurationPropose", exchange, from, header, content });
        return;
      }
      case "give":
        this.#giveVersion(effect.id);
        return;
      case "prepare":
        this.#input({ kind: "prepared", id: effect.header.id, reasons: this.#prepare(effect) });
        return;
      case "effect":
        void this.#takeEffect(effect.header).then((report) =>
          this.#input({
            kind: "effected",
            id: effect.header.id,
            ok: report.ok,
            words: boundedReasons(report.words),
          }),
        );
        return;
      case "keep":
        this.#write(() => this.#store.keep(effect.header.id));
        return;
      case "drop":
        this.#write(() => this.#store.drop());
        return;
      case "remember": {
        const text = textOf(effect.content);
        if (text !== null && headerFault(effect.header, text) === null)
          this.#write(() => this.#store.put(effect.header, text, false));
        return;
      }
      case "answer":
        this.#settle(effect.request, (waiter) => waiter.resolve(effect.report));
        return;
      case "refuse":
        this.#settle(effect.request, (waiter) => waiter.reject(refused("apply", effect.reason)));
        return;
      case "log":
        this.#options.log(effect.line);
        return;
    }
  }

  #settle(order: number, how: (waiter: Waiter) => void): void {
    const waiter = this.#orders.get(order);
    this.#orders.delete(order);
    if (waiter !== undefined) how(waiter);
  }

  #giveVersion(id: string): void {
    const header = this.#machine.history.get(id);
    const text = header === undefined ? null : readableText(this.#store, id, this.#options.log);
    const versions = header === undefined || text === null ? [] : [{ header, content: encoder.encode(text) }];
    this.#send?.({ kind: "configurationVersion", id, versions });
  }

  /** Judges and stores a version; why not, in words. */
  #prepare({ header, content, judge }: Extract<ConfigEffect, { kind: "prepare" }>): readonly string[] {
    const text = typeof content === "string" ? content : textOf(content);
    if (text === null) return ["the text is not UTF-8"];
    const fault = headerFault(header, text);
    if (fault !== null) return [fault];
    if (judge) {
      const judgement = this.#judge({ file: "pair.yaml", text });
      if (!judgement.ok) return boundedReasons(judgement.reasons);
      if (judgement.next.digest !== header.digest)
        return ["it means something else here than on the other node"];
    }
    // A store that forgets would forget the promise as well.
    if (this.#options.storeFault !== null) return [this.#options.storeFault];
    return this.#write(() => this.#store.put(header, text, true)) ?? [];
  }

  async #takeEffect(header: VersionHeader): Promise<EffectReport> {
    const { log, effect, running, config } = this.#options;
    const { node, pair } = config.files;
    const text = readableText(this.#store, header.id, log);
    if (text === null) return { ok: false, words: [`the text of ${nameOf(header)} is not kept any more`] };
    const read = configurationWith(node, { file: "pair.yaml", text });
    if (!read.ok) return { ok: false, words: formatErrors(read.errors).split("\n") };
    this.#rememberByHand(text);
    const report = await withPairFile(pair, text, async () =>
      header.digest === running().digest ? { ok: true, words: [] } : await effect(read.config),
    );
    const how = report.ok ? "is in effect" : "could not take effect";
    log(`configuration: ${nameOf(header)} ${how}${said(report.words)}`);
    return report;
  }

  /** What somebody wrote into the pair's file since it was last in force would be lost: it becomes a version aside. */
  #rememberByHand(next: string): void {
    const { head, tentative, node } = this.#machine;
    const { node: nodeFile, pair } = this.#options.config.files;
    let before: string;
    try {
      before = readPairFile(pair);
    } catch {
      // There is nothing that could be lost.
      return;
    }
    const textDigest = sha256Hex(before);
    if (before === next || [head.textDigest, tentative?.textDigest].includes(textDigest)) return;
    const read = configurationWith(nodeFile, { file: "pair.yaml", text: before });
    const digest = read.ok ? read.config.digest : textDigest;
    if (digest === head.digest) return;
    const draft: Draft = {
      digest,
      textDigest,
      origin: "import",
      author: "",
      message: "edited by hand",
      at: this.#now(),
    };
    const header = versionAfter(head, draft, node);
    this.#write(() => this.#store.put(header, before, false));
    remember(this.#machine, header);
    this.#options.log(
      `configuration: the pair's file was edited by hand; what it said is kept as ${header.id.slice(0, 8)}`,
    );
  }

  /** Why the store could not be written, in words; null where it was. */
  #write(work: () => void): readonly string[] | null {
    try {
      work();
      if (this.#options.storeFault === null) this.#writeFault = null;
      return null;
    } catch (error) {
      if (!(error instanceof BoundaryError)) throw error;
      this.#writeFault = error.message;
      this.#options.log(`configuration: ${error.message}`);
      return [error.message];
    }
  }
}

const applied = ({ request }: ApplyRequest, report: ApplyReport): DaemonMessage => ({
  kind: "applied",
  request,
  report,
});

const said = (words: readonly string[]): string => (words.length === 0 ? "" : `: ${words.join("; ")}`);
