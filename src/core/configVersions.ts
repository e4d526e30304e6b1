// Versions of the pair's configuration and their history: each knows what it was made from, and its id is a digest of all that
// it is, so that two nodes which name the same id have the same version with the same past. From that follows who is merely
// behind, and who has something that the other one never heard of: then nothing is guessed. Pure.

import { sha256Hex } from "../base/sha256.ts";
import type { NodeId } from "../base/units.ts";
import type { VersionHeader } from "../wire/messagesConfiguration.ts";

/** The id of no version. */
export const NO_VERSION = "0".repeat(64);

/** Versions by id: those of the chain in force, and what else was here once. */
export type History = ReadonlyMap<string, VersionHeader>;

/** A version before it has a number and an id. */
export type Draft = Omit<VersionHeader, "id" | "parent" | "number" | "node">;

const PREFIX_LENGTH_MIN = 6;

/**
 * The id of a version. One that was found on disk has neither author nor time in its id, and of its text only what it means:
 * two nodes that were given the same file by hand have made the same version.
 */
function idOf(header: Omit<VersionHeader, "id" | "number">): string {
  const { parent, digest, textDigest, origin, node, author, message, at } = header;
  const made = origin === "import" ? [] : [textDigest, node, author, message, at];
  return sha256Hex(JSON.stringify(["understudy configuration", parent, digest, origin, ...made]));
}

/** The version that `draft` becomes on `node` after `parent` (null: the first one). */
export function versionAfter(parent: VersionHeader | null, draft: Draft, node: NodeId): VersionHeader {
  const fields = { ...draft, node, parent: parent?.id ?? NO_VERSION };
  return { ...fields, id: idOf(fields), number: (parent?.number ?? 0) + 1 };
}

/** What is wrong with a header and a text that came from the peer; null where they belong together. */
export function headerFault(header: VersionHeader, text: string): string | null {
  if (idOf(header) !== header.id) return "its id is not that of its contents";
  return sha256Hex(text) === header.textDigest ? null : "its text is not the one that its header tells of";
}

/** From `head` back to the oldest version that is known without a gap. */
export function chainOf(history: History, head: VersionHeader): readonly VersionHeader[] {
  const chain = [head];
  const seen = new Set([head.id]);
  for (let next = history.get(head.parent); next !== undefined; next = history.get(next.parent)) {
    // Ids are digests of their pasts, so there is no ring; a file that was tampered with may still say so.
    if (seen.has(next.id)) break;
    seen.add(next.id);
    chain.push(next);
  }
  return chain;
}

/** Found on disk by a node that knew of nothing before. */
const isFirst = ({ origin, parent }: VersionHeader): boolean => origin === "import" && parent === NO_VERSION;

/**
 * Whether `other` is in the past of `head`: by its id; or, where its node had only just been set up (or has lost its
 * history), by its contents.
 */
export function covers(history: History, head: VersionHeader, other: VersionHeader): boolean {
  const chain = chainOf(history, head);
  // The oldest one's parent is in its past, too, though it is known by its id alone.
  return chain.some(
    ({ id, parent, digest }) =>
      id === other.id || parent === other.id || (isFirst(other) && digest === other.digest),
  );
}

/** The id of the next older version that the chain of `head` lacks; null where it goes back to the first one. */
export function gapOf(history: History, head: VersionHeader): string | null {
  const { parent } = chainOf(history, head).at(-1)!;
  return parent === NO_VERSION || history.has(parent) ? null : parent;
}

export type Found =
  | { readonly ok: true; readonly header: VersionHeader }
  | { readonly ok: false; readonly reason: string };

/** What a person means by `reference`: a number of the chain in force, or the first digits of an id of any version. */
export function findVersion(history: History, head: VersionHeader, reference: string): Found {
  const fail = (reason: string): Found => ({ ok: false, reason });
  if (/^\d{1,9}$/.test(reference)) {
    const chain = chainOf(history, head);
    const header = chain.find(({ number }) => number === Number(reference));
    if (header !== undefined) return { ok: true, header };
    const oldest = chain.at(-1)!.number;
    const numbers =
      oldest === head.number ? `only version ${oldest} is kept` : `there are ${oldest} to ${head.number}`;
    if (reference.length < PREFIX_LENGTH_MIN) return fail(`there is no version ${reference}; ${numbers}`);
  }
  if (!/^[0-9a-f]+$/.test(reference) || reference.length < PREFIX_LENGTH_MIN)
    return fail(`${reference}: expected the number of a version, or ${PREFIX_LENGTH_MIN} digits of its id`);
  const found = [head, ...history.values()].filter(({ id }) => id.startsWith(reference));
  const ids = new Set(found.map(({ id }) => id));
  if (ids.size === 1) return { ok: true, header: found[0]! };
  return fail(
    ids.size === 0 ? `no version's id begins with ${reference}` : `several ids begin with ${reference}`,
  );
}

/** `version 7 (1f0c2a9b)`: how a version is named to people. */
export const nameOf = ({ number, id }: Pick<VersionHeader, "number" | "id">): string =>
  `version ${number} (${id.slice(0, 8)})`;

/** What a node's store and its disk say at a start. */
export interface FoundAtStart {
  readonly node: NodeId;
  readonly history: History;
  /** The version that was in force last; null: none was ever stored. */
  readonly head: VersionHeader | null;
  /** One that was on its way into force. */
  readonly pending: VersionHeader | null;
  /** What lies on disk, and is what this node starts with. */
  readonly file: Pick<VersionHeader, "digest" | "textDigest">;
  readonly nowMs: number;
}

export interface Start {
  readonly head: VersionHeader;
  /** In effect since this start, and not in force yet: the leader's word was not heard (core/configLog.ts). */
  readonly tentative: VersionHeader | null;
  /** `head` is new: it was found on disk, and belongs into the store. */
  readonly isImport: boolean;
}

/**
 * What a node starts with is what lies on disk: the version in force; the one that was on its way when the node ended; or one
 * that somebody wrote there, which then becomes a version of its own.
 */
export function startOf({ node, head, pending, file, nowMs }: FoundAtStart): Start {
  const means = (version: VersionHeader): boolean => version.digest === file.digest;
  const is = (version: VersionHeader): boolean => means(version) && version.textDigest === file.textDigest;
  if (head !== null) {
    // The same text in both: whether it was taken into effect makes no difference, so nothing was.
    const wasTaken = pending !== null && !is(head) && (is(pending) || (means(pending) && !means(head)));
    if (wasTaken) return { head, tentative: pending, isImport: false };
    if (means(head)) return { head, tentative: null, isImport: false };
  }
  const draft: Draft = { ...file, origin: "import", author: "", message: "", at: nowMs };
  return { head: versionAfter(head, draft, node), tentative: null, isImport: true };
}
