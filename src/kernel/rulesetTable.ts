// The daemon's tables in the kernel, `inet understudy` and `inet understudy-guard`: compared, put in place, removed. What
// they say is core/ruleset.ts and core/guard.ts; when each is due is the daemon's business. Where the kernel can, they are
// the daemon's own (tables.ts): a flush of the ruleset passes them by, and a daemon that is gone leaves them in place.

import { SLOTS } from "../base/limits.ts";
import { RULESET_TABLE, updateSlots } from "../core/ruleset.ts";
import { isAbsent, type Nftables } from "./nftables.ts";
import { OwnTables } from "./tables.ts";

/**
 * Puts a ruleset of core/ruleset.ts in place: nothing where it is there already, the slots alone where only they
 * differ, else the whole table. Returns whether anything was changed. Without `tables` the table stays a plain one, or
 * what it is. @throws BoundaryError
 */
export function applyRuleset(text: string, tables?: OwnTables): boolean {
  return withTables(tables, (own) => {
    let isReplaced = false;
    let changes = "";
    const same = own.holds(RULESET_TABLE, text, () => {
      isReplaced = putTable(own, RULESET_TABLE, text);
      if (!isReplaced) changes = updateSlots(readSlots(own.nft), slotsOf(text));
      return !isReplaced && changes === "";
    });
    if (changes !== "") own.nft.run(`move slots of table inet ${RULESET_TABLE}`, changes);
    return !same;
  });
}

/** Puts `table inet NAME` in place where it is not there as `text` has it. True: it was not. @throws BoundaryError */
export function applyTable(name: string, text: string, tables?: OwnTables): boolean {
  return withTables(tables, (own) => !own.holds(name, text, () => !putTable(own, name, text)));
}

/** Removing the absent succeeds. @throws BoundaryError */
export function removeRuleset(tables?: OwnTables): void {
  removeTable(RULESET_TABLE, tables);
}

/** Removes `table inet NAME`; removing the absent succeeds. @throws BoundaryError */
export function removeTable(name: string, tables?: OwnTables): void {
  withTables(tables, (own) => own.remove(`remove table inet ${name}`, name));
}

function withTables<T>(tables: OwnTables | undefined, body: (tables: OwnTables) => T): T {
  if (tables !== undefined) return body(tables);
  const once = new OwnTables("inet", { plain: true });
  try {
    return body(once);
  } finally {
    once.close();
  }
}

/**
 * An orphan is adopted first, with what is in it. (A table that has to be made is empty for a moment: without the
 * ruleset nothing is forwarded, see dressPlan.ts, and the guard is put in place before anything listens.)
 */
function putTable(tables: OwnTables, name: string, text: string): boolean {
  const operation = `install table inet ${name}`;
  tables.adopt(operation, name);
  if (rulesOf(text) === rulesOf(listTable(tables.nft, name))) return false;
  tables.replace({ operation, name, text });
  return true;
}

/** The table without its elements and counters; empty where there is none. */
function listTable(nft: Nftables, name: string): string {
  try {
    return nft.stateless(`read table inet ${name}`, `list table inet ${name}`);
  } catch (error) {
    if (isAbsent(error)) return "";
    throw error;
  }
}

/**
 * What tells whether two spellings of a table are the same: the digest in its comment (what it was written from) and
 * how many rules each chain has (that nobody flushed or added one since). nft spells rules in its own way when it
 * lists them, so their texts cannot be compared.
 */
function rulesOf(table: string): string {
  const comment = /^\s*comment "([^"]*)"/m.exec(table)?.[1] ?? "";
  const counts: string[] = [];
  for (const chain of table.matchAll(/^\s*chain (\S+) \{\n([^}]*(?:\{[^}]*\}[^}]*)*?)\n\s*\}\n/gm))
    counts.push(`${chain[1]} ${chain[2]!.split("\n").length}`);
  return `${comment}: ${counts.sort().join(", ")}`;
}

/** Slots in a ruleset's text: `elements = { 0 : 1, 7 : 2 }`. */
function slotsOf(text: string): Uint8Array {
  const slots = new Uint8Array(SLOTS);
  const elements = /elements = \{ ([^}]*) \}/.exec(text)?.[1] ?? "";
  for (const element of elements.matchAll(/(\d+) : (\d+)/g)) slots[Number(element[1])] = Number(element[2]);
  return slots;
}

/** The slots in the kernel's map. */
function readSlots(nft: Nftables): Uint8Array {
  const slots = new Uint8Array(SLOTS);
  const objects = nft.list("read the slots", `list map inet ${RULESET_TABLE} slots`);
  for (const object of objects) {
    const map = object.map as { readonly elem?: readonly (readonly [number, number])[] } | undefined;
    for (const [slot, link] of map?.elem ?? []) slots[slot] = link;
  }
  return slots;
}
