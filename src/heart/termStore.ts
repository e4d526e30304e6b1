// The terms on disk: what heart claimed last and what it has reserved (failover §5). Writing is asynchronous, one
// write at a time and the newest wins: a busy disk (an fsync of 188 ms was measured) never holds a heartbeat, and a
// disk that refuses is a value for the election machine, never a reason not to take over.

import { open, readFile, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BoundaryError } from "../base/errors.ts";
import { type Term, term } from "../base/units.ts";

export interface Terms {
  /** The highest term that this node claimed or heard of. */
  readonly current: Term;
  /** Its own next term, on disk before it is used; 0: none. */
  readonly reserved: Term;
}

export interface TermStore {
  readonly file: string;
  /** Starts writing; `stored` of a later turn tells what became of it. */
  store(terms: Terms): void;
  /** What ended since the last call: the terms on disk, or the disk's words. */
  takeResult():
    | { readonly ok: true; readonly terms: Terms }
    | { readonly ok: false; readonly words: string }
    | null;
  /** Resolves once nothing is under way. */
  idle(): Promise<void>;
}

const isTerm = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * Reads the terms of `directory`; a file that is not there is term 0.
 * @throws BoundaryError where the file cannot be read or does not hold terms: guessing a term could claim one twice.
 */
export async function readTerms(directory: string): Promise<Terms> {
  const file = join(directory, "terms.json");
  const advice =
    "Restore the file, or remove it on a node whose peer is running: it then learns the term from the peer.";
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "EIO";
    if (code === "ENOENT") return { current: term(0), reserved: term(0) };
    throw new BoundaryError({ operation: `read ${file}`, code, words: (error as Error).message, advice });
  }
  try {
    const value = JSON.parse(text) as { current?: unknown; reserved?: unknown };
    if (isTerm(value.current) && isTerm(value.reserved))
      return { current: term(value.current), reserved: term(value.reserved) };
  } catch {
    // Falls through to the refusal below: both ways the content is not ours.
  }
  throw new BoundaryError({
    operation: `read ${file}`,
    code: "NOT_TERMS",
    words: "not a file of terms",
    advice,
  });
}

/** A rename is on disk once its directory is: without this, a power cut could bring the terms before back. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function write(file: string, terms: Terms, sync: typeof syncDirectory): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(terms)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file).catch(async (error: unknown) => {
    await unlink(temporary).catch(() => undefined);
    throw error;
  });
  await sync(dirname(file));
}

/** `sync`: how the directory's entries are brought to disk, for tests. */
export function openTermStore(directory: string, sync = syncDirectory): TermStore {
  const file = join(directory, "terms.json");
  let next: Terms | null = null;
  let result: ReturnType<TermStore["takeResult"]> = null;
  let running: Promise<void> | null = null;
  const work = async (): Promise<void> => {
    while (next !== null) {
      const terms: Terms = next;
      next = null;
      try {
        await write(file, terms, sync);
        result = { ok: true, terms };
      } catch (error) {
        result = { ok: false, words: (error as Error).message };
      }
    }
    running = null;
  };
  return {
    file,
    store: (terms) => {
      next = terms;
      running ??= work();
    },
    takeResult: () => {
      const taken = result;
      result = null;
      return taken;
    },
    idle: async () => {
      while (running !== null) await running;
    },
  };
}
