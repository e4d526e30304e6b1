// The session table, read through: one netlink datagram a step, so that the caller can put events in between. The
// same filter and policy as for events; every record is a create. The kernel's dump is not a snapshot in time:
// what changes while it runs is told by events, which the caller drains before each step.

import {
  CTA_MARK,
  CTA_MARK_MASK,
  IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_NEW,
  NFNL_SUBSYS_CTNETLINK,
  readConntrack,
} from "../wire/conntrack.ts";
import { MessageWriter, NLM_F_DUMP } from "../wire/netlink.ts";
import { RecordBatch, recordEnd, SessionOperation } from "../wire/session.ts";
import { SessionFields } from "../wire/sessionFields.ts";
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
  const scan = openSessionScan(options);
  let teller: ExpectationTeller | null = null;
  try {
    if (options.expectations !== true) return new Dump(scan, policy, null);
    teller = openExpectationTeller(policy);
    return new Dump(scan, policy, { teller, table: openExpectationTable() });
  } catch (error) {
    scan.close();
    teller?.close();
    throw error;
  }
}

interface Expectations {
  readonly teller: ExpectationTeller;
  readonly table: TableDump;
}

/** Sessions; behind them those that a helper expected, so that their masters come first; behind them what is expected. */
class Dump implements SessionDump {
  readonly #scan: SessionScan;
  readonly #policy: SessionPolicy;
  readonly #expected = new RecordBatch();
  #expectedAt = 0;
  readonly #expectations: Expectations | null;
  #batch: RecordBatch | null = null;
  #sessionsDone = false;

  constructor(scan: SessionScan, policy: SessionPolicy, expectations: Expectations | null) {
    this.#scan = scan;
    this.#policy = policy;
    this.#expectations = expectations;
  }

  next(batch: RecordBatch): boolean {
    this.#batch = batch;
    if (!this.#sessionsDone) {
      this.#sessionsDone = !this.#scan.next(this.#take);
      return !this.#sessionsDone || this.#expected.count > 0 || this.#expectations !== null;
    }
    const { bytes, length } = this.#expected;
    while (this.#expectedAt < length) {
      const end = recordEnd(bytes, this.#expectedAt, length);
      if (!batch.copy(bytes, this.#expectedAt, end)) return true;
      this.#expectedAt = end;
    }
    if (this.#expectations === null) return false;
    const { teller, table } = this.#expectations;
    return table.next((from, start, end) => teller.told(from, start, end, batch) !== ExpectationTold.NoRoom);
  }

  close(): void {
    this.#scan.close();
    this.#expectations?.teller.close();
    this.#expectations?.table.close();
  }

  readonly #take = (fields: SessionFields): boolean => {
    const batch = this.#batch;
    if (batch === null || batch.full) return false;
    if (this.#policy.recordFor(fields) === 0) return true;
    // Few, and more than fit are sent as they come: a standby that has no master yet leaves it out.
    const into = fields.hasMaster && !this.#expected.full ? this.#expected : batch;
    into.append(SessionOperation.Create, fields);
    return true;
  };
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
