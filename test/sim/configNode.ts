// A node of the configuration's simulator: the machine under test, and a driver that does what daemon/configKeeper.ts does with
// a disk that survives a crash, a daemon that takes some time over an effect, and texts that one node or the other refuses.
// A text is a number, and perhaps a comment behind `#`, which is no part of what it means.

import { sha256Hex } from "../../src/base/sha256.ts";
import type { NodeId, Role } from "../../src/base/units.ts";
import { createConfigLog, deadline, step } from "../../src/core/configLog.ts";
import type {
  ConfigEffect,
  ConfigInput,
  ConfigLogState,
  ConfigMessage,
} from "../../src/core/configLogState.ts";
import { type Draft, headerFault, startOf, versionAfter } from "../../src/core/configVersions.ts";
import type { ApplyReport } from "../../src/wire/controlConfiguration.ts";
import type { VersionHeader } from "../../src/wire/messagesConfiguration.ts";

export const digests = new Map<string, string>();
const digestText = (text: string): string => {
  let digest = digests.get(text);
  if (digest === undefined) {
    digest = sha256Hex(text);
    digests.set(text, digest);
  }
  return digest;
};
export const meaningOf = (text: string): string => digestText(text.split("#")[0]!);
export const draftOf = (text: string, origin: Draft["origin"], at: number): Draft => ({
  digest: meaningOf(text),
  textDigest: digestText(text),
  origin,
  author: "root",
  message: "",
  at,
});

const numberOf = (text: string): number => Number(text.split("#")[0]);
/** Every seventh text is refused by one node, as many fail when they are taken into effect. */
export const refuses = (node: NodeId, text: string): boolean =>
  numberOf(text) % 14 === (node === "a" ? 3 : 4);
export const fails = (node: NodeId, text: string): boolean => numberOf(text) % 14 === (node === "a" ? 5 : 6);

export type Mutation =
  | "import-as-order"
  | "pending-forgotten"
  | "judged-by-one"
  | "kept-at-start"
  | "effect-unwritten";

export interface ConfigNodeOptions {
  readonly node: NodeId;
  readonly mutation: Mutation | null;
  readonly send: (message: ConfigMessage) => void;
  readonly answered: (request: number, report: ApplyReport) => void;
  /** It was found on the disk, written by hand. */
  readonly found: (header: VersionHeader) => void;
  readonly kept: (header: VersionHeader, before: VersionHeader) => void;
  /** True: the power goes now, before what comes next is done. */
  readonly dies: () => boolean;
}

/** What lies on the disk. */
interface Disk {
  readonly versions: Map<string, { header: VersionHeader; text: string }>;
  head: string | null;
  pending: string | null;
  file: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class ConfigNode {
  readonly #options: ConfigNodeOptions;
  readonly disk: Disk;
  machine: ConfigLogState | null = null;
  /** The text that the daemon runs with; null: it does not run. */
  running: string | null = null;
  /** An effect under way: it is done at this time. */
  effect: { header: VersionHeader; text: string; before: string; doneAt: number } | null = null;
  effects = 0;
  #now = 0;
  #effectMs = 0;
  #inputs: ConfigInput[] = [];

  constructor(options: ConfigNodeOptions, file: string) {
    this.#options = options;
    this.disk = { versions: new Map(), head: null, pending: null, file };
  }

  start(now: number, role: Role, peerActive: boolean): void {
    const { disk } = this;
    const { node, mutation } = this.#options;
    const header = (id: string | null): VersionHeader | null =>
      id === null ? null : disk.versions.get(id)!.header;
    const history = new Map([...disk.versions].map(([id, version]) => [id, version.header]));
    const file = { digest: meaningOf(disk.file), textDigest: digestText(disk.file) };
    const pending = mutation === "pending-forgotten" ? null : header(disk.pending);
    const start = startOf({ node, history, head: header(disk.head), pending, file, nowMs: now });
    let { head, tentative } = start;
    if (start.isImport) {
      const parent = header(disk.head);
      if (mutation === "import-as-order") head = versionAfter(parent, draftOf(disk.file, "apply", now), node);
      disk.versions.set(head.id, { header: head, text: disk.file });
      if (parent !== null) this.#options.found(head);
    }
    if (mutation === "kept-at-start" && tentative !== null) {
      head = tentative;
      tentative = null;
    }
    disk.head = head.id;
    if (tentative === null) disk.pending = null;
    this.running = disk.file;
    this.machine = createConfigLog(node, { ...start, head, tentative }, history);
    this.input(now, { kind: "role", role, peerActive });
  }

  crash(): void {
    this.machine = null;
    this.running = null;
    this.effect = null;
  }

  deadline(): number | null {
    const times = [this.effect?.doneAt, this.machine === null ? null : deadline(this.machine)];
    const known = times.filter((time) => typeof time === "number");
    return known.length === 0 ? null : Math.min(...known);
  }

  /** Time has come to `now`: what was due happens. `effectMs`: how long the next effect takes. */
  turn(now: number, effectMs: number): void {
    this.#effectMs = effectMs;
    if (this.machine === null) return;
    if (this.effect !== null && this.effect.doneAt <= now) this.#endEffect(now);
    const due = this.machine === null ? null : deadline(this.machine);
    if (due !== null && due <= now) this.input(now, { kind: "tick" });
  }

  /** One input, its effects in order, and the inputs that these give, one after the other. */
  input(now: number, input: ConfigInput): void {
    this.#now = now;
    this.#inputs.push(input);
    if (this.#inputs.length > 1) return;
    for (let next = this.#inputs[0]; next !== undefined && this.machine !== null; next = this.#inputs[0]) {
      this.#step(this.machine, next);
      this.#inputs.shift();
    }
    this.#inputs = [];
  }

  #step(machine: ConfigLogState, input: ConfigInput): void {
    const effects: ConfigEffect[] = [];
    const before = machine.head;
    step(machine, this.#now, input, effects);
    for (const effect of effects) {
      if (this.#options.dies()) {
        this.crash();
        return;
      }
      this.#perform(effect, before);
    }
  }

  #endEffect(now: number): void {
    const { header, text, before } = this.effect!;
    this.effect = null;
    this.effects += 1;
    const ok = !fails(this.#options.node, text);
    if (ok) this.running = text;
    else this.disk.file = before;
    this.input(now, { kind: "effected", id: header.id, ok, words: ok ? [] : ["refused by the kernel"] });
  }

  #perform(effect: ConfigEffect, before: VersionHeader): void {
    const { disk } = this;
    const { send, answered, kept, mutation } = this.#options;
    const textOf = (id: string): string | undefined => disk.versions.get(id)?.text;
    switch (effect.kind) {
      case "send": {
        const { message } = effect;
        const lie = mutation === "judged-by-one" && message.kind === "configurationVerdict";
        send(lie ? { ...message, accepted: true } : message);
        return;
      }
      case "propose": {
        const { exchange, from, header } = effect;
        const content = encoder.encode(textOf(header.id)!);
        send({ kind: "configurationPropose", exchange, from, header, content });
        return;
      }
      case "give": {
        const version = disk.versions.get(effect.id);
        const versions =
          version === undefined ? [] : [{ header: version.header, content: encoder.encode(version.text) }];
        send({ kind: "configurationVersion", id: effect.id, versions });
        return;
      }
      case "prepare": {
        const { header, content, judge } = effect;
        const text = typeof content === "string" ? content : decoder.decode(content);
        const fault = headerFault(header, text);
        const reasons = [
          ...(fault === null ? [] : [fault]),
          ...(judge && mutation !== "judged-by-one" && refuses(this.#options.node, text)
            ? ["1:1: a mistake"]
            : []),
        ];
        if (reasons.length === 0) {
          disk.versions.set(header.id, { header, text });
          disk.pending = header.id;
        }
        this.input(this.#now, { kind: "prepared", id: header.id, reasons });
        return;
      }
      case "effect": {
        const text = textOf(effect.header.id)!;
        const before = disk.file;
        if (mutation !== "effect-unwritten") disk.file = text;
        const doneAt = this.#now + this.#effectMs;
        this.effect = { header: effect.header, text, before, doneAt };
        return;
      }
      case "keep":
        disk.head = effect.header.id;
        disk.pending = null;
        kept(effect.header, before);
        return;
      case "drop":
        disk.pending = null;
        return;
      case "remember": {
        const text = decoder.decode(effect.content);
        if (headerFault(effect.header, text) === null)
          disk.versions.set(effect.header.id, { header: effect.header, text });
        return;
      }
      case "answer":
        answered(effect.request, effect.report);
        return;
      case "refuse":
      case "log":
        return;
    }
  }
}
