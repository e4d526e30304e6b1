// `understudy keygen`: makes this node's key, or reads it again, and prints what the other side needs to know of it.

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { keygen, loadIdentity, type PublicIdentity } from "../peer/identity.ts";
import { DEFAULT_KEY_FILE, DEFAULT_NODE_FILE } from "./defaults.ts";
import type { Terminal } from "./terminal.ts";

function publicHalf({ publicKey, fingerprint }: PublicIdentity, { style }: Terminal): string {
  return (
    `Into the pair's file, on both nodes, under the name of this node:\n\n` +
    `  ${style("bold", `keys: ["${publicKey}"]`)}\n\n` +
    `To compare by voice with who stands at the other node:\n\n` +
    `  ${style("bold", fingerprint)}\n`
  );
}

/** Writes a new key to `out` (never over one that is there) and prints its public half and fingerprint. */
export function makeKey(options: { readonly out: string; readonly json: boolean }, terminal: Terminal): void {
  const file = resolve(options.out);
  const identity = keygen(file);
  const { publicKey, fingerprint } = identity;
  terminal.out(
    options.json
      ? `${JSON.stringify({ file, publicKey, fingerprint })}\n`
      : `The key is in ${file}. It stays on this node, readable for its owner alone.\n\n` +
          `${publicHalf(identity, terminal)}\n` +
          `Next: understudy check ${resolve(dirname(file), "node.yaml")}\n`,
  );
}

/**
 * Prints the public half and the fingerprint of the key in `file`. Null: `node.key` here, or where there is none, beside the
 * node's file at its usual place.
 */
export function showKey(
  options: { readonly file: string | null; readonly json: boolean },
  terminal: Terminal,
): void {
  const usual = existsSync(DEFAULT_KEY_FILE) ? "." : dirname(DEFAULT_NODE_FILE);
  const file = options.file === null ? resolve(usual, DEFAULT_KEY_FILE) : resolve(options.file);
  const { publicKey, fingerprint } = loadIdentity(file);
  terminal.out(
    options.json
      ? `${JSON.stringify({ file, publicKey, fingerprint })}\n`
      : `The key in ${file}.\n\n${publicHalf({ publicKey, fingerprint }, terminal)}`,
  );
}
