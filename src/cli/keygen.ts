// `understudy keygen`: makes this node's key and prints what the other side needs to know of it.

import { dirname, resolve } from "node:path";
import { keygen } from "../peer/identity.ts";
import type { Terminal } from "./terminal.ts";

/** Writes a new key to `out` (never over one that is there) and prints its public half and fingerprint. */
export function makeKey(options: { readonly out: string; readonly json: boolean }, terminal: Terminal): void {
  const file = resolve(options.out);
  const { publicKey, fingerprint } = keygen(file);
  if (options.json) {
    terminal.out(`${JSON.stringify({ file, publicKey, fingerprint })}\n`);
    return;
  }
  const { style } = terminal;
  terminal.out(
    `The key is in ${file}. It stays on this node, readable for its owner alone.\n\n` +
      `Into the pair's file, on both nodes, under the name of this node:\n\n` +
      `  ${style("bold", `keys: ["${publicKey}"]`)}\n\n` +
      `To compare by voice with who stands at the other node:\n\n` +
      `  ${style("bold", fingerprint)}\n\n` +
      `Next: understudy check ${resolve(dirname(file), "node.yaml")}\n`,
  );
}
