// The command line's entry: hands the arguments to src/cli/program.ts and its exit code to the shell. It loads
// nothing that a command does not need, so that `understudy --help` answers at once and without the native library.

import { runCli } from "./cli/program.ts";
import { processTerminal } from "./cli/terminal.ts";

process.exitCode = await runCli(process.argv.slice(2), processTerminal());
