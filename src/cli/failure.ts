// How a command fails: one message that a person can act on, one exit code that a script can (docs/operations.md §6).

import { BoundaryError, ExitCode } from "../base/errors.ts";
import type { Terminal } from "./terminal.ts";

/** A boundary's refusal for which the command knows the exit code better than the refusal's own code does. */
export class CommandFailure extends Error {
  readonly refusal: BoundaryError;
  readonly exitCode: ExitCode;
  constructor(refusal: BoundaryError, exitCode: ExitCode) {
    super(refusal.message, { cause: refusal });
    this.name = "CommandFailure";
    this.refusal = refusal;
    this.exitCode = exitCode;
  }
}

const exitCodes: Readonly<Record<string, ExitCode>> = {
  EACCES: ExitCode.NoPermission,
  EPERM: ExitCode.NoPermission,
  CLOSED: ExitCode.Unavailable,
  ETIMEDOUT: ExitCode.Unavailable,
};

/** The exit code of a refusal: no permission, nobody there, else "refused". */
export function exitCodeOf(refusal: BoundaryError): ExitCode {
  return exitCodes[refusal.code] ?? ExitCode.Refused;
}

/**
 * Tells the user what went wrong and returns the exit code. With `json`, standard output gets the same as an
 * object: `{"error": {"operation", "code", "words", "advice", "exitCode"}}`.
 */
export function reportFailure(error: unknown, terminal: Terminal, json: boolean): ExitCode {
  const refusal = error instanceof CommandFailure ? error.refusal : error;
  if (!(refusal instanceof BoundaryError)) return reportDefect(error, terminal, json);
  const exitCode = error instanceof CommandFailure ? error.exitCode : exitCodeOf(refusal);
  // A refusal of the daemon is a sentence of its own already.
  const said =
    refusal.code === "REFUSED" && refusal.words !== undefined ? `refused: ${refusal.words}` : refusal.message;
  terminal.err(`understudy: ${said}\n`);
  const { operation, code, words, advice } = refusal;
  if (json) terminal.out(`${JSON.stringify({ error: { operation, code, words, advice, exitCode } })}\n`);
  return exitCode;
}

/** The one place where a user sees a stack trace: it is ours, and we say so. */
function reportDefect(error: unknown, terminal: Terminal, json: boolean): ExitCode {
  const details = error instanceof Error ? (error.stack ?? error.message) : String(error);
  terminal.err(
    `understudy: this is a defect of Understudy, not a mistake of yours.\n` +
      `  Please report it as CONTRIBUTING.md says, with the command that you ran and these lines:\n\n${details}\n`,
  );
  const exitCode = ExitCode.Defect;
  if (json)
    terminal.out(
      `${JSON.stringify({ error: { operation: "defect", code: "DEFECT", words: details, exitCode } })}\n`,
    );
  return exitCode;
}
