// The versions of the pair's configuration on this node's disk: one SQLite file in the state directory, with the texts, the
// version in force and the one on its way. Every change is one transaction, on disk when the call returns; the disk
// may be full or read-only, and that is an error that says so. What is in force is decided elsewhere (core/configLog.ts).

import { closeSync, fchmodSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { BoundaryError } from "../base/errors.ts";
import { CONFIGURATION_STORE_BYTES_MAX, CONFIGURATION_VERSIONS_MAX } from "../base/limits.ts";
import type { VersionHeader } from "../wire/messagesConfiguration.ts";

export interface ConfigStore {
  readonly file: string;
  /** Headers of all versions by id, oldest first. */
  history(): Map<string, VersionHeader>;
  /** The version in force; null in a new store. */
  head(): VersionHeader | null;
  /** The version that is on its way into force. */
  pending(): VersionHeader | null;
  /** The text of a version; null where there is no such one. */
  text(id: string): string | null;
  /** Adds a version, which may be there already; `pending`: it is the one on its way from now on. */
  put(header: VersionHeader, text: string, pending: boolean): void;
  /** A version that was put is in force, and nothing is on its way. */
  keep(id: string): void;
  /** Nothing is on its way; what was, is forgotten, unless it was kept before it was on its way. */
  drop(): void;
  close(): void;
}

/** What this program understands of the file's layout: another number is refused. */
const LAYOUT = 1;
const SCHEMA = `
  CREATE TABLE version (
    id TEXT PRIMARY KEY, parent TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, textDigest TEXT NOT NULL,
    origin TEXT NOT NULL, node TEXT NOT NULL, author TEXT NOT NULL, message TEXT NOT NULL, at INTEGER NOT NULL,
    text TEXT NOT NULL) STRICT;
  CREATE TABLE place (
    name TEXT PRIMARY KEY, id TEXT NOT NULL REFERENCES version(id), fresh INTEGER NOT NULL) STRICT;
  PRAGMA user_version = ${LAYOUT};`;
const COLUMNS = "id, parent, number, digest, textDigest, origin, node, author, message, at";
/** The oldest that may go: neither in force nor on its way. */
const PRUNE = `
  DELETE FROM version WHERE rowid = (
    SELECT rowid FROM version WHERE id NOT IN (SELECT id FROM place) ORDER BY rowid LIMIT 1)`;

export interface StoreLimits {
  readonly versions: number;
  readonly bytes: number;
}
const LIMITS: StoreLimits = { versions: CONFIGURATION_VERSIONS_MAX, bytes: CONFIGURATION_STORE_BYTES_MAX };

/**
 * Opens the store of a state directory, which is made where it is missing. For tests: other limits; a file that may not grow
 * beyond so many pages.
 * @throws BoundaryError where it cannot be opened, is no store, or is one of a later program.
 */
export function openConfigStore(directory: string, limits = LIMITS, pagesMax?: number): ConfigStore {
  const file = join(directory, "configurations.sqlite");
  return refusing("open", file, () => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const fd = openSync(file, "a", 0o600);
    fchmodSync(fd, 0o600);
    closeSync(fd);
    return new SqliteStore(file, limits, pagesMax);
  });
}

/** One that forgets: for a node whose disk cannot keep one. */
export function openForgetfulStore(): ConfigStore {
  return new SqliteStore(":memory:", LIMITS);
}

/** SQLite's own names of what a disk may do; everything else has its number. */
const CODES: Readonly<Record<number, string>> = {
  5: "SQLITE_BUSY",
  8: "SQLITE_READONLY",
  10: "SQLITE_IOERR",
  11: "SQLITE_CORRUPT",
  13: "SQLITE_FULL",
  14: "SQLITE_CANTOPEN",
  26: "SQLITE_NOTADB",
};

function refusing<T>(what: string, file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof BoundaryError) throw error;
    const { code = "UNKNOWN", errcode, message } = error as NodeJS.ErrnoException & { errcode?: number };
    const primary = errcode === undefined ? code : (CODES[errcode & 0xff] ?? `SQLITE_${errcode}`);
    const damaged = primary === "SQLITE_CORRUPT" || primary === "SQLITE_NOTADB";
    const advice = damaged
      ? "Move the file away and restart the daemon: the history comes back from the other node."
      : "Is the state directory's disk full, read-only or failing?";
    throw new BoundaryError(
      { operation: `${what} the versions in ${file}`, code: primary, words: message, advice },
      { cause: error },
    );
  }
}

type Row = Record<string, SQLOutputValue>;
/** A row as an object like any other. */
const headerOf = (row: Row): VersionHeader => ({ ...row }) as unknown as VersionHeader;

class SqliteStore implements ConfigStore {
  readonly file: string;
  readonly #database: DatabaseSync;
  readonly #limits: StoreLimits;

  constructor(file: string, limits: StoreLimits, pagesMax?: number) {
    this.file = file;
    this.#limits = limits;
    this.#database = new DatabaseSync(file, { timeout: 1000 });
    try {
      this.#prepare();
      if (pagesMax !== undefined) this.#database.exec(`PRAGMA max_page_count = ${pagesMax}`);
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  #prepare(): void {
    // EXTRA: the directory is synced, too, when the journal that would undo a transaction is removed.
    this.#database.exec("PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = ON;");
    const { user_version: layout } = this.#database.prepare("PRAGMA user_version").get() as Row;
    if (layout === 0) this.#database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
    else if (layout !== LAYOUT)
      throw new BoundaryError({
        operation: `open the versions in ${this.file}`,
        code: "LAYOUT",
        words: `the file has layout ${layout}, this program knows ${LAYOUT}`,
        advice: "It was written by a later version of Understudy: run that one, or move the file away.",
      });
  }

  history(): Map<string, VersionHeader> {
    const rows = this.#all(`SELECT ${COLUMNS} FROM version ORDER BY rowid`);
    return new Map(rows.map((row) => [String(row.id), headerOf(row)]));
  }

  head(): VersionHeader | null {
    return this.#at("head");
  }

  pending(): VersionHeader | null {
    return this.#at("pending");
  }

  text(id: string): string | null {
    return refusing("read", this.file, () => {
      const row = this.#database.prepare("SELECT text FROM version WHERE id = ?").get(id);
      return row === undefined ? null : String(row.text);
    });
  }

  put(header: VersionHeader, text: string, pending: boolean): void {
    this.#change(() => {
      const { id, parent, number, digest, textDigest, origin, node, author, message, at } = header;
      const { changes } = this.#database
        .prepare(
          `INSERT INTO version (${COLUMNS}, text) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
        )
        .run(id, parent, number, digest, textDigest, origin, node, author, message, at, text);
      if (pending) this.#place("pending", id, changes > 0);
      this.#prune();
    });
  }

  keep(id: string): void {
    this.#change(() => {
      this.#place("head", id, false);
      this.#database.exec("DELETE FROM place WHERE name = 'pending'");
    });
  }

  drop(): void {
    // Said often, and mostly of nothing: no write for that.
    if (this.pending() === null) return;
    this.#change(() => {
      const row = this.#database
        .prepare("DELETE FROM place WHERE name = 'pending' RETURNING id, fresh")
        .get();
      if (row?.fresh !== 1) return;
      this.#database
        .prepare("DELETE FROM version WHERE id = ? AND id NOT IN (SELECT id FROM place)")
        .run(String(row.id));
    });
  }

  close(): void {
    this.#database.close();
  }

  #all(sql: string): Row[] {
    return refusing("read", this.file, () => this.#database.prepare(sql).all());
  }

  #at(name: "head" | "pending"): VersionHeader | null {
    const [row] = this.#all(
      `SELECT ${COLUMNS} FROM version WHERE id = (SELECT id FROM place WHERE name = '${name}')`,
    );
    return row === undefined ? null : headerOf(row);
  }

  #place(name: "head" | "pending", id: string, fresh: boolean): void {
    this.#database
      .prepare("INSERT OR REPLACE INTO place (name, id, fresh) VALUES (?, ?, ?)")
      .run(name, id, fresh ? 1 : 0);
  }

  #prune(): void {
    for (;;) {
      const { versions, bytes } = this.#database
        .prepare("SELECT count(*) AS versions, total(length(CAST(text AS BLOB))) AS bytes FROM version")
        .get() as { versions: number; bytes: number };
      if (versions <= this.#limits.versions && bytes <= this.#limits.bytes) return;
      if (this.#database.prepare(PRUNE).run().changes === 0) return;
    }
  }

  #change(work: () => void): void {
    refusing("write", this.file, () => {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        work();
        this.#database.exec("COMMIT");
      } catch (error) {
        // A full disk has rolled back by itself already.
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
  }
}
