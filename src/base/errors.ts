// Errors: one class for everything that the world may refuse, with what was tried, a stable code, the other
// side's own words, and what to do. A user sees `describe()`, never a stack trace.

export interface BoundaryErrorDetails {
  /** What was tried, with its object: `create macvlan us-lan on eth0`. */
  readonly operation: string;
  /** A stable code: an errno name (`EPERM`) or one of ours (`KEY_READABLE_BY_OTHERS`). */
  readonly code: string;
  /** The refuser's own words, verbatim. */
  readonly words?: string;
  /** What the reader can do about it. */
  readonly advice?: string;
}

export class BoundaryError extends Error {
  readonly operation: string;
  readonly code: string;
  readonly words: string | undefined;
  readonly advice: string | undefined;

  constructor(details: BoundaryErrorDetails, options?: ErrorOptions) {
    super(describe(details), options);
    this.name = "BoundaryError";
    this.operation = details.operation;
    this.code = details.code;
    this.words = details.words;
    this.advice = details.advice;
  }
}

function describe(details: BoundaryErrorDetails): string {
  const { operation, code } = details;
  // The system's own words begin with the code (`EISDIR: illegal operation ...`): once is enough.
  const said = details.words?.startsWith(`${code}: `) ? details.words.slice(code.length + 2) : details.words;
  const words = said === undefined ? "" : `: ${said}`;
  const advice = details.advice === undefined ? "" : `\n  ${details.advice}`;
  return `${operation}: ${code}${words}${advice}`;
}

/** Exit codes of every command (docs/operations.md). 64 and up are those of sysexits.h. */
export const ExitCode = {
  Ok: 0,
  Failed: 1,
  /** `lab`: not possible on this machine as it is; the message says what is missing. */
  NotPossible: 3,
  Usage: 64,
  /** A configuration that does not hold. */
  BadConfiguration: 65,
  /** No daemon answers on the control socket, or no Node is new enough. */
  Unavailable: 69,
  /** Understudy did what it must never do: a defect, to be reported. */
  Defect: 70,
  /** A kernel or another program refused. */
  Refused: 71,
  NoPermission: 77,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];
