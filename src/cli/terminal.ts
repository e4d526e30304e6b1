// Where the command line writes: standard output for what was asked for, standard error for everything else. An
// object of its own so that tests read what a user would see.

import type { Style } from "../views/text.ts";
import { colourStyle, plainStyle } from "../views/text.ts";

export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Tones for what goes to `out`. */
  readonly style: Style;
  /** The wall clock, in milliseconds since 1970. */
  nowMs(): number;
}

/** The process's own. Colours only where a person looks on and NO_COLOR (no-color.org) is not set. */
export function processTerminal(): Terminal {
  const coloured = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
  // `understudy show sessions | head`: the reader had enough, and that is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    style: coloured ? colourStyle : plainStyle,
    nowMs: () => Date.now(),
  };
}
