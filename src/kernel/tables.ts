// Tables of ours in nftables, kept from being flushed by others where the kernel can (tableOwner.ts), as plain
// ones where it cannot. One object holds the tables of one family for as long as its process lives: what it owns
// is an orphan when it goes, in place as it was, and the next process of ours adopts it. Says nothing of what is in a table.

import { BoundaryError } from "../base/errors.ts";
import { isAbsent, Nftables } from "./nftables.ts";
import {
  type ClaimingSocket,
  ownedByAnother,
  socketOpenedBy,
  type TableFamily,
  TableReader,
  type TableState,
} from "./tableOwner.ts";
import { commandsOf, emptyingText } from "./tableText.ts";

export interface Replacement {
  readonly operation: string;
  readonly name: string;
  /** The whole as one transaction of a plain table: `table F N`, `delete table F N`, `table F N { ... }`. */
  readonly text: string;
  /**
   * Commands that keep shut what the table keeps shut. They are carried out, with the removal of what cannot be
   * filled in its place, before an owned table is made: it is made empty, in a transaction of its own.
   */
  readonly meanwhile?: string;
}

export class OwnTables {
  readonly family: TableFamily;
  readonly nft: Nftables;
  readonly #reader: TableReader;
  readonly #socket: ClaimingSocket | null;
  /** What each table was last found to hold, by name, and at which generation of the whole ruleset. */
  readonly #found = new Map<string, { readonly text: string; readonly generation: number }>();

  /** `plain`: never owned, whatever the kernel can do. @throws BoundaryError (no libnftables), KernelError */
  constructor(family: TableFamily, options: { readonly plain?: boolean } = {}) {
    this.family = family;
    this.#reader = new TableReader(family);
    let nft: Nftables | null = null;
    try {
      const socket = socketOpenedBy(() => {
        nft = new Nftables();
      });
      this.#socket = options.plain !== true && socket?.canClaim(family) ? socket : null;
    } catch (error) {
      this.#reader.close();
      throw error;
    }
    this.nft = nft!;
  }

  /** Whether the kernel keeps these tables for us. */
  get areOwned(): boolean {
    return this.#socket !== null;
  }

  /** Null where there is no such table. @throws BoundaryError TABLE_OWNED where another process has it */
  read(operation: string, name: string): TableState | null {
    const state = this.#reader.read(name);
    const owner = state?.owner ?? null;
    if (owner === null || owner === this.#socket?.portId) return state;
    throw ownedByAnother(operation, owner);
  }

  /** Whether tables of these names are there, whoever's and whatever is in them. One netlink dump. @throws KernelError */
  stand(names: readonly string[]): boolean {
    return names.every((name) => this.#reader.read(name) !== null);
  }

  /**
   * Whether `name` holds `text`, as `compare` finds out. Where it did when it was last compared, and no
   * transaction of anybody has been since, nothing is read: listing a table with thousands of elements takes tens
   * of milliseconds.
   */
  holds(name: string, text: string, compare: () => boolean): boolean {
    // Before the comparison: a transaction in the midst of it is one since.
    const generation = this.#reader.generation();
    const found = this.#found.get(name);
    if (found !== undefined && found.text === text && found.generation === generation) return true;
    this.#found.delete(name);
    const same = compare();
    if (same && generation !== null) this.#found.set(name, { text, generation });
    return same;
  }

  /** Makes an orphan ours, with everything in it. False: there is no table, or a plain one, which stays one. */
  adopt(operation: string, name: string): boolean {
    const state = this.read(operation, name);
    if (this.#socket === null || state?.persists !== true) return false;
    if (state.owner === null) this.#socket.claim(this.family, name);
    return true;
  }

  /**
   * Puts a table in the place of whatever has its name. One transaction where it is plain, and where it is owned already or an
   * orphan, which is emptied and filled. Otherwise three: `meanwhile` and the removal of the old one, the claim, the
   * contents. True: `meanwhile` was carried out, and is the caller's to take back.
   * @throws BoundaryError; TABLE_OWNED where another process has it
   */
  replace(replacement: Replacement): boolean {
    const { operation, name, text, meanwhile = "" } = replacement;
    const table = `${this.family} ${name}`;
    const state = this.read(operation, name);
    if (this.#socket === null) {
      // The block says flags, which an orphan's are not.
      const orphan = state?.persists === true ? `delete table ${table}\n` : "";
      this.nft.run(operation, orphan + text);
      return false;
    }
    if (state?.persists === true) {
      if (state.owner === null) this.#socket.claim(this.family, name);
      this.nft.run(operation, emptyingText(table, this.#reader.contents(name)) + commandsOf(text));
      return false;
    }
    const old = state === null ? "" : `delete table ${table}\n`;
    if (meanwhile + old !== "") this.nft.run(operation, meanwhile + old);
    this.#socket.claim(this.family, name);
    this.nft.run(operation, commandsOf(text));
    return meanwhile !== "";
  }

  /** Removing the absent succeeds. @throws BoundaryError; TABLE_OWNED where another process has it */
  remove(operation: string, name: string): void {
    if (this.read(operation, name) === null) return;
    try {
      this.nft.run(operation, `delete table ${this.family} ${name}\n`);
    } catch (error) {
      if (!(error instanceof BoundaryError) || !isAbsent(error)) throw error;
    }
  }

  /** Ends this process's part: what it owned stays, an orphan. */
  close(): void {
    this.nft.close();
    this.#reader.close();
  }
}
