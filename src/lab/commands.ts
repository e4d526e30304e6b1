// Other programs: `ip`, `bridge`, `nft`, `conntrack`, run inside a namespace and refused with their own words. It
// knows nothing of topology or of scenarios.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { BoundaryError } from "../base/errors.ts";

export interface RunOptions {
  /** Process id whose network namespace the command runs in; default: our own. */
  readonly inside?: number;
  readonly input?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** Exit codes that are no error; default [0]. */
  readonly accept?: readonly number[];
  /** Called with each line of output; the result's `stdout` stays empty then. */
  readonly onLine?: (line: string) => void;
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `command` as it must be started to run inside the network namespace of process `inside`. */
export function enter(inside: number | undefined, command: readonly string[]): readonly string[] {
  return inside === undefined ? command : ["nsenter", "-t", String(inside), "-n", "--", ...command];
}

/**
 * Runs a command to its end.
 * @throws BoundaryError with the command's own words where its exit code is not accepted.
 */
export function run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [program, ...args] = enter(options.inside, command);
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, {
      stdio: "pipe",
      env: options.environment ?? process.env,
      // Ctrl-C is the laboratory's to answer: its cleaning up must not lose its tools half way.
      detached: true,
    });
    const output = collect(child, options.onLine);
    child.on("error", (error: NodeJS.ErrnoException) =>
      reject(
        new BoundaryError({
          operation: `run ${program}`,
          code: error.code ?? "EUNKNOWN",
          words: error.message,
        }),
      ),
    );
    child.on("close", (code, signal) => {
      const result = { code: code ?? 128, stdout: output.stdout(), stderr: output.stderr() };
      if (code !== null && (options.accept ?? [0]).includes(code)) resolve(result);
      else
        reject(
          new BoundaryError({
            operation: `run \`${command.join(" ")}\``,
            code: signal ?? `exit ${code}`,
            words: (result.stderr || result.stdout).trim(),
          }),
        );
    });
    child.stdin.on("error", () => {});
    child.stdin.end(options.input ?? "");
  });
}

function collect(
  child: ChildProcess,
  onLine: ((line: string) => void) | undefined,
): { stdout(): string; stderr(): string } {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  if (onLine === undefined) child.stdout?.on("data", (bytes: Buffer) => out.push(bytes));
  else if (child.stdout) createInterface({ input: child.stdout }).on("line", onLine);
  child.stderr?.on("data", (bytes: Buffer) => err.push(bytes));
  return { stdout: () => Buffer.concat(out).toString(), stderr: () => Buffer.concat(err).toString() };
}
