// The session table, read through: one netlink datagram a step, so that the caller can put events in between. The
// same filter and policy as for events; every record is a create. The kernel's dump is not a snapshot in time:
// what changes while it runs is told by events, which the caller drains before each step.

import {
  CTA_MARK,
  CTA_MARK_MASK,
  CTA_STATUS,
  CTA_STATUS_MASK,
  IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_NEW,
  NFNL_SUBSYS_CTNETLINK,
  readConntrack,
} from "../wire/conntrack.ts";
import { MessageWriter, NLM_F_DUMP } from "../wire/netlink.ts";
import { type RecordBatch, SessionOperation } from "../wire/session.ts";
import { IPS_EXPECTED, SessionFields } from "../wire/sessionFields.ts";
import { SessionPolicy } from "../wire/sessionPolicy.ts";
import {
  type ExpectationTeller,
  ExpectationTold,
  openExpectationTable,
  openExpectationTeller,
} from "./expectationTeller.ts";
import { AF_INET, AF_INET6 } from "./libc.ts";
import { TableDump } from "./tableDump.ts";

const OPERATION = "read the session table";
const TYPE_NEW = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
const TYPE_GET = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;

export interface SessionDumpOptions {
  /** One family only. */
  readonly family?: 4 | 6;
  /** Only entries with `(mark & mask) === value`: the kernel then copies no others. */
  readonly mark?: { readonly value: number; readonly mask: number };
  /** Only entries that a helper expected, where the kernel can tell (5.17); a scan's. */
  readonly expected?: true;
  /** Which of the pair's sessions become records (a dump, not a scan); default DEFAULT_SENDING. */
  readonly policy?: SessionPolicy;
  /** A dump ends with what the helpers of those sessions expect; for a peer of protocol version 2. */
  readonly expectations?: boolean;
}

export interface SessionDump {
  /**
   * Appends the records of the next datagram (or of what did not fit before) to `batch`. False when the table is
   * at its end. Throws KernelError where the kernel refuses.
   */
  next(batch: RecordBatch): boolean;
  close(): void;
}

/** Starts a dump, in the network namespace of the calling thread. */
export function openSessionDump(options: SessionDumpOptions = {}): SessionDump {
  const policy = options.policy ?? new SessionPolicy();
  const open: { close(): void }[] = [];
  const opened = <T extends { close(): void }>(each: T): T => {
    open.push(each);
    return each;
  };
  try {
    const sessions = opened(openSessionScan(options));
    const expected = opened(openSessionScan({ ...options, expected: true }));
    if (options.expectations !== true) return new Dump([sessions, expected], policy, null);
    const teller = opened(openExpectationTeller(policy));
    return new Dump([sessions, expected], policy, { teller, table: openExpectationTable() });
  } catch (error) {
    for (const each of open) each.close();
    throw error;
  }
}

interface Expectations {
  readonly teller: ExpectationTeller;
  readonly table: TableDump;
}

/**
 * Sessions; behind them, where there are any, those that a helper expected, so that their masters come first; behind them
 * what is expected. Each part is read when its turn has come: nothing that is said is older than a chunk.
 */
class Dump implements SessionDump {
  readonly #sessions: SessionScan;
  readonly #expected: SessionScan;
  readonly #policy: SessionPolicy;
  readonly #expectations: Expectations | null;
  #batch: RecordBatch | null = null;
  #part: "sessions" | "expected" | "expectations" = "sessions";
  #hasExpected = false;

  constructor(
    scans: readonly [SessionScan, SessionScan],
    policy: SessionPolicy,
    expectations: Expectations | null,
  ) {
    [this.#sessions, this.#expected] = scans;
    this.#policy = policy;
    this.#expectations = expectations;
  }

  next(batch: RecordBatch): boolean {
    this.#batch = batch;
    switch (this.#part) {
      case "sessions":
        if (this.#sessions.next(this.#take)) return true;
        this.#part = this.#hasExpected ? "expected" : "expectations";
        return this.#hasExpected || this.#expectations !== null;
      case "expected":
        if (this.#expected.next(this.#takeExpected)) return true;
        this.#part = "expectations";
        return this.#expectations !== null;
      case "expectations": {
        if (this.#expectations === null) return false;
        const { teller, table } = this.#expectations;
        return table.next(
          (from, start, end) => teller.told(from, start, end, batch) !== ExpectationTold.NoRoom,
        );
      }
    }
  }

  close(): void {
    this.#sessions.close();
    this.#expected.close();
    this.#expectations?.teller.close();
    this.#expectations?.table.close();
  }

  readonly #take = (fields: SessionFields): boolean => {
    if ((fields.status & IPS_EXPECTED) === 0) return this.#append(fields);
    this.#hasExpected = true;
    return true;
  };

  /** Kernels before 5.17 tell of all sessions, whatever is asked for. */
  readonly #takeExpected = (fields: SessionFields): boolean =>
    (fields.status & IPS_EXPECTED) === 0 || this.#append(fields);

  #append(fields: SessionFields): boolean {
    const batch = this.#batch;
    if (batch === null || batch.full) return false;
    if (this.#policy.recordFor(fields) !== 0) batch.append(SessionOperation.Create, fields);
    return true;
  }
}

/** As a dump, for any entry of the table and any purpose. */
export interface SessionScan {
  /**
   * Calls `take` for each entry of the next datagram; where it returns false the entry is offered again by the
   * next call. False when the table is at its end.
   */
  next(take: (fields: SessionFields) => boolean): boolean;
  close(): void;
}

export function openSessionScan(options: SessionDumpOptions = {}): SessionScan {
  const family = options.family === 4 ? AF_INET : options.family === 6 ? AF_INET6 : 0;
  const request = new MessageWriter(TYPE_GET, NLM_F_DUMP).fixed(Uint8Array.of(family, 0, 0, 0));
  if (options.mark !== undefined)
    request.be32(CTA_MARK, options.mark.value).be32(CTA_MARK_MASK, options.mark.mask);
  if (options.expected === true) request.be32(CTA_STATUS, IPS_EXPECTED).be32(CTA_STATUS_MASK, IPS_EXPECTED);
  return new Scan(new TableDump(OPERATION, TYPE_NEW, request));
}

class Scan implements SessionScan {
  readonly #table: TableDump;
  readonly #fields = new SessionFields();

  constructor(table: TableDump) {
    this.#table = table;
  }

  next(take: (fields: SessionFields) => boolean): boolean {
    const fields = this.#fields;
    return this.#table.next((bytes, start, end) => !readConntrack(bytes, start, end, fields) || take(fields));
  }

  close(): void {
    this.#table.close();
  }
}
