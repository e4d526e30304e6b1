// Heart's log: lines to standard error that never make heart wait. A pipe that nobody reads or a disk that is
// busy costs lines, which are counted and told, not heartbeats.

import { write } from "node:fs";

const LINES_MAX = 1000;
const STANDARD_ERROR = 2;

export interface Logger {
  (line: string): void;
  /** Resolves once what was logged is written, or after `timeoutMs`. */
  flush(timeoutMs: number): Promise<void>;
}

/** Lines are written as `ISO-8601 name: line`, with the wall clock of the moment of the call. */
export function createLogger(name: string): Logger {
  const lines: string[] = [];
  let dropped = 0;
  let writing = false;
  const waiting: (() => void)[] = [];
  const pump = (): void => {
    if (writing) return;
    if (lines.length === 0) {
      for (const resolve of waiting.splice(0)) resolve();
      return;
    }
    const note = dropped > 0 ? `${dropped} lines dropped: nobody read them in time\n` : "";
    dropped = 0;
    const text = lines.splice(0).join("") + note;
    writing = true;
    // An error is a reader that is gone: there is nobody left to tell.
    write(STANDARD_ERROR, text, () => {
      writing = false;
      pump();
    });
  };
  const log = (line: string): void => {
    if (lines.length >= LINES_MAX) dropped += 1;
    else lines.push(`${new Date().toISOString()} ${name}: ${line}\n`);
    pump();
  };
  const flush = (timeoutMs: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
      pump();
    });
  return Object.assign(log, { flush });
}
