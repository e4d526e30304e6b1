// The pair's file while a configuration takes effect: it is written first, because whichever process starts meanwhile reads it,
// and put back where the kernel or a process refuses. What takes effect, and how, is not its business.

import { readFileSync } from "node:fs";
import { replaceFile } from "../admin/replaceFile.ts";
import { BoundaryError } from "../base/errors.ts";
import type { EffectReport } from "../core/configPlan.ts";

/** The text of the pair's file. @throws BoundaryError */
export function readPairFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    throw new BoundaryError({ operation: `read ${file}`, code, words: message }, { cause: error });
  }
}

/** Runs `effect` with `text` in the pair's file; the old text is back in it unless that says ok. It never rejects. */
export async function withPairFile(
  file: string,
  text: string,
  effect: () => Promise<EffectReport>,
): Promise<EffectReport> {
  let before: string | null = null;
  let words: readonly string[];
  try {
    const old = readPairFile(file);
    replaceFile(file, text);
    before = old;
    const report = await effect();
    if (report.ok) return report;
    words = report.words;
  } catch (error) {
    words = [wordsOf(error)];
  }
  try {
    if (before !== null) replaceFile(file, before);
    return { ok: false, words };
  } catch (error) {
    return { ok: false, words: [...words, `and the file could not be put back: ${wordsOf(error)}`] };
  }
}

/** In one line. */
function wordsOf(error: unknown): string {
  const { message } = error as Error;
  const [line = ""] = message.split("\n");
  return error instanceof BoundaryError ? line : `defect: ${line}`;
}
