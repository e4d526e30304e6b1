// The program's version, as package.json has it: the one place where it is written.

import { readFileSync } from "node:fs";

/** `0.1.0`. */
export function softwareVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
