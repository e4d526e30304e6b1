// nftables through libnftables: text in, text or JSON out, one transaction a call. For configuration, and for
// nothing that is timed: a call may wait for somebody else's commit (failover.md §2). It knows no ruleset of ours.
// The socket inside belongs to the network namespace in which the object was made.

import { writeFileSync } from "node:fs";
import koffi from "koffi";
import { BoundaryError } from "../base/errors.ts";
import { SLOTS } from "../base/limits.ts";
import { RULESET_TABLE, updateSlots } from "../core/ruleset.ts";
import { close, errno, errnoName, memoryFile, strerror } from "./libc.ts";

/** <nftables/libnftables.h> */
const NFT_CTX_OUTPUT_STATELESS = 1 << 2;
const NFT_CTX_OUTPUT_JSON = 1 << 4;
const NFT_CTX_OUTPUT_TERSE = 1 << 11;

/** What the kernel says and how much of the offending line is worth repeating. */
const WORDS_MAX = 600;

interface Natives {
  create(flags: number): unknown;
  free(context: unknown): void;
  setFlags(context: unknown, flags: number): void;
  bufferOutput(context: unknown): number;
  bufferError(context: unknown): number;
  output(context: unknown): string;
  error(context: unknown): string;
  run(context: unknown, text: string): number;
  runFile(context: unknown, path: string): number;
}

let loaded: Natives | null = null;

/** The library, loaded at first use: a machine without it can still run everything that does not need it. */
function natives(): Natives {
  if (loaded !== null) return loaded;
  let lib: ReturnType<typeof koffi.load>;
  try {
    lib = koffi.load("libnftables.so.1");
  } catch (error) {
    throw new BoundaryError(
      {
        operation: "load libnftables.so.1",
        code: "NO_LIBNFTABLES",
        words: error instanceof Error ? error.message : String(error),
        advice: "Install nftables (Debian, Ubuntu: apt install nftables).",
      },
      { cause: error },
    );
  }
  loaded = {
    create: lib.func("void *nft_ctx_new(uint32_t)"),
    free: lib.func("void nft_ctx_free(void *)"),
    setFlags: lib.func("void nft_ctx_output_set_flags(void *, uint32_t)"),
    bufferOutput: lib.func("int nft_ctx_buffer_output(void *)"),
    bufferError: lib.func("int nft_ctx_buffer_error(void *)"),
    output: lib.func("const char *nft_ctx_get_output_buffer(void *)"),
    error: lib.func("const char *nft_ctx_get_error_buffer(void *)"),
    runFile: lib.func("int nft_run_cmd_from_filename(void *, const char *)"),
    run: lib.func("int nft_run_cmd_from_buffer(void *, const char *)"),
  };
  return loaded;
}

export class Nftables {
  readonly #natives: Natives;
  #context: unknown;

  /** @throws BoundaryError NO_LIBNFTABLES */
  constructor() {
    this.#natives = natives();
    this.#context = this.#natives.create(0);
    this.#natives.bufferOutput(this.#context);
    this.#natives.bufferError(this.#context);
  }

  /**
   * Runs commands as one transaction: all of them or none. Returns what they print.
   * @param operation what it is for, with its object: "install the gate (table netdev understudy-gate)"
   * @throws BoundaryError with the errno's name as code and the kernel's words with the line they are about
   */
  run(operation: string, text: string): string {
    return this.#execute(operation, text, 0);
  }

  /** `run` without counters and set elements: for comparing what is there with what should be. */
  stateless(operation: string, text: string): string {
    return this.#execute(operation, text, NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_TERSE);
  }

  /** Runs a command that lists and returns the objects of libnftables-json(5), without the `metainfo` one. */
  list(operation: string, text: string): Record<string, unknown>[] {
    const output = this.#execute(operation, text, NFT_CTX_OUTPUT_JSON);
    const parsed = JSON.parse(output) as { readonly nftables?: Record<string, unknown>[] };
    return (parsed.nftables ?? []).filter((object) => !("metainfo" in object));
  }

  close(): void {
    if (this.#context !== null) this.#natives.free(this.#context);
    this.#context = null;
  }

  /** Of a buffer libnftables 1.0.6 does not tell which line was refused, and shows the first; of a file it tells. */
  #run(text: string): number {
    if (!text.trimEnd().includes("\n")) return this.#natives.run(this.#context, text);
    const file = memoryFile("nft");
    try {
      writeFileSync(file, text);
      return this.#natives.runFile(this.#context, `/proc/self/fd/${file}`);
    } finally {
      close(file);
    }
  }

  #execute(operation: string, text: string, flags: number): string {
    if (this.#context === null) throw new Error("nftables: used after close");
    this.#natives.setFlags(this.#context, flags);
    const result = this.#run(text);
    // The error buffer holds warnings too; only the result says whether it was refused.
    const output = this.#natives.output(this.#context) ?? "";
    const words = (this.#natives.error(this.#context) ?? "").trim();
    if (result === 0) return output;
    throw refusal(operation, words, text);
  }
}

/** Turns `FILE:3:2-9: Error: Could not process rule: No such file or directory` into an error with line 3. */
function refusal(operation: string, words: string, commands: string): BoundaryError {
  const message = words.split("\n").find((line) => !/^[\s^~]*$/.test(line)) ?? "no reason given";
  const place = /^[^:]*:(\d+):\d+(?:-\d+)?: /.exec(message);
  const first = place === null ? message : message.slice(place[0].length);
  const line = place === null ? 1 : Number(place[1]);
  const isNamed = place !== null || !commands.trimEnd().includes("\n");
  const about = !isNamed ? undefined : commands.split("\n")[line - 1]?.trim();
  const text = about === undefined ? first : `${first} in: ${about}`;
  const code = codeOf(first);
  return new BoundaryError({
    operation,
    code,
    words: text.slice(0, WORDS_MAX),
    ...(code === "EPERM" ? { advice: "Needs CAP_NET_ADMIN: run it as root." } : {}),
  });
}

/** The errno's name whose text ends the line (a hint may follow it); NFT_SYNTAX where libnftables itself refused. */
function codeOf(line: string): string {
  for (const value of new Set(Object.values(errno)))
    if (value > 0 && `${line};`.includes(`: ${strerror(value)};`)) return errnoName(value);
  return "NFT_SYNTAX";
}

/** Whether an error is nftables' word for "there is no such object". */
export function isAbsent(error: unknown): boolean {
  return error instanceof BoundaryError && error.code === "ENOENT";
}

/**
 * Puts a ruleset of core/ruleset.ts in place: nothing where it is there already, the slots alone where only they
 * differ, else the whole table in one transaction. Returns whether anything was changed.
 */
export function applyRuleset(text: string): boolean {
  const nft = new Nftables();
  try {
    if (putTable(nft, RULESET_TABLE, text)) return true;
    const changes = updateSlots(readSlots(nft), slotsOf(text));
    if (changes !== "") nft.run(`move slots of table inet ${RULESET_TABLE}`, changes);
    return changes !== "";
  } finally {
    nft.close();
  }
}

/** Puts `table inet NAME` in place, in one transaction, where it is not there as `text` has it. True: it was not. */
export function applyTable(name: string, text: string): boolean {
  const nft = new Nftables();
  try {
    return putTable(nft, name, text);
  } finally {
    nft.close();
  }
}

function putTable(nft: Nftables, name: string, text: string): boolean {
  if (rulesOf(text) === rulesOf(listTable(nft, name))) return false;
  nft.run(`install table inet ${name}`, text);
  return true;
}

/** Moves slots: `changes` is what core/ruleset.ts `updateSlots` says. One transaction; nothing for an empty text. */
export function applySlots(changes: string): void {
  if (changes === "") return;
  const nft = new Nftables();
  try {
    nft.run(`move slots of table inet ${RULESET_TABLE}`, changes);
  } finally {
    nft.close();
  }
}

/** Removing the absent succeeds. */
export function removeRuleset(): void {
  removeTable(RULESET_TABLE);
}

/** Removes `table inet NAME`; removing the absent succeeds. */
export function removeTable(name: string): void {
  const nft = new Nftables();
  try {
    nft.run(`remove table inet ${name}`, `table inet ${name}\ndelete table inet ${name}\n`);
  } finally {
    nft.close();
  }
}

/** The table without its elements and counters; empty where there is none. */
function listTable(nft: Nftables, name: string): string {
  try {
    return nft.stateless(`read table inet ${name}`, `list table inet ${name}`);
  } catch (error) {
    if (isAbsent(error)) return "";
    throw error;
  }
}

/**
 * What tells whether two spellings of a table are the same: the digest in its comment (what it was written from) and
 * how many rules each chain has (that nobody flushed or added one since). nft spells rules in its own way when it
 * lists them, so their texts cannot be compared.
 */
function rulesOf(table: string): string {
  const comment = /^\s*comment "([^"]*)"/m.exec(table)?.[1] ?? "";
  const counts: string[] = [];
  for (const chain of table.matchAll(/^\s*chain (\S+) \{\n([^}]*(?:\{[^}]*\}[^}]*)*?)\n\s*\}\n/gm))
    counts.push(`${chain[1]} ${chain[2]!.split("\n").length}`);
  return `${comment}: ${counts.sort().join(", ")}`;
}

/** Slots in a ruleset's text: `elements = { 0 : 1, 7 : 2 }`. */
function slotsOf(text: string): Uint8Array {
  const slots = new Uint8Array(SLOTS);
  const elements = /elements = \{ ([^}]*) \}/.exec(text)?.[1] ?? "";
  for (const element of elements.matchAll(/(\d+) : (\d+)/g)) slots[Number(element[1])] = Number(element[2]);
  return slots;
}

/** The slots in the kernel's map. */
function readSlots(nft: Nftables): Uint8Array {
  const slots = new Uint8Array(SLOTS);
  const objects = nft.list("read the slots", `list map inet ${RULESET_TABLE} slots`);
  for (const object of objects) {
    const map = object.map as { readonly elem?: readonly (readonly [number, number])[] } | undefined;
    for (const [slot, link] of map?.elem ?? []) slots[slot] = link;
  }
  return slots;
}
