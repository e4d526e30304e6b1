// nftables through libnftables: text in, text or JSON out, one transaction a call. For configuration, and for
// nothing that is timed: a call may wait for somebody else's commit (failover.md §2). It knows no ruleset of ours.
// The socket inside belongs to the network namespace in which the object was made.

import { writeFileSync } from "node:fs";
import koffi from "koffi";
import { BoundaryError } from "../base/errors.ts";
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
  runFile: ((context: unknown, path: string) => number) & {
    async(context: unknown, path: string, done: (error: unknown, result: number) => void): void;
  };
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
    runFile: lib.func("int nft_run_cmd_from_filename(void *, const char *)") as Natives["runFile"],
    run: lib.func("int nft_run_cmd_from_buffer(void *, const char *)"),
  };
  return loaded;
}

export class Nftables {
  readonly #natives: Natives;
  #context: unknown;
  /** A transaction is under way on another thread: the library's context is not to be touched meanwhile. */
  #busy = false;

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

  /**
   * `run` on another thread: this one goes on while the kernel, or somebody else's commit, takes its time. Nothing else may be
   * asked of this object until it has settled. Rejects as `run` throws.
   */
  async runAside(operation: string, text: string): Promise<void> {
    this.#prepare(0);
    const file = memoryFile("nft");
    this.#busy = true;
    try {
      writeFileSync(file, text);
      const result = await new Promise<number>((resolve, reject) => {
        this.#natives.runFile.async(this.#context, `/proc/self/fd/${file}`, (error, value) => {
          if (error === null || error === undefined) resolve(value);
          else reject(error);
        });
      });
      const words = (this.#natives.error(this.#context) ?? "").trim();
      if (result !== 0) throw refusal(operation, words, text);
    } finally {
      this.#busy = false;
      close(file);
    }
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

  /** Not while `runAside` is under way. */
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

  #prepare(flags: number): void {
    if (this.#context === null) throw new Error("nftables: used after close");
    if (this.#busy) throw new BoundaryError({ operation: "ask nftables", code: "BUSY" });
    this.#natives.setFlags(this.#context, flags);
  }

  #execute(operation: string, text: string, flags: number): string {
    this.#prepare(flags);
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
