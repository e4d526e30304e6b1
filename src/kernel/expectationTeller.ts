// What the helpers of connection tracking expect, as records: from the kernel's events while it happens, or from a dump of
// the table. An expectation says nothing of a link: it is the pair's if the session is that expects, so that one is looked
// up for each. Rare beside sessions. Whether a peer understands these records is the caller's business.

import { EXPECTATION_EARLY_MS, EXPECTATIONS_EARLY_MAX } from "../base/limits.ts";
import {
  IPCTNL_MSG_EXP_GET,
  IPCTNL_MSG_EXP_NEW,
  NFNL_SUBSYS_CTNETLINK_EXP,
  readExpectationMessage,
} from "../wire/conntrackExpect.ts";
import { ExpectationFields, isCarried } from "../wire/expectation.ts";
import { MessageWriter, NLM_F_DUMP } from "../wire/netlink.ts";
import { type RecordBatch, SessionOperation } from "../wire/session.ts";
import { SessionFields, sameBytes } from "../wire/sessionFields.ts";
import type { SessionPolicy } from "../wire/sessionPolicy.ts";
import { openSessionExchange, type SessionExchange } from "./sessionExchange.ts";
import { TableDump } from "./tableDump.ts";

/** What became of an expectation. */
export const ExpectationTold = {
  /** A record, or nothing that the peer should hear. */
  Done: 0,
  /** The batch is too full: to be offered again. */
  NoRoom: 1,
  /** The session that expects is not there. */
  NoMaster: 2,
} as const;
export type ExpectationTold = (typeof ExpectationTold)[keyof typeof ExpectationTold];

/** Opens the table of expectations, in the network namespace of the calling thread. Throws KernelError. */
export function openExpectationTable(): TableDump {
  const subsystem = NFNL_SUBSYS_CTNETLINK_EXP << 8;
  const request = new MessageWriter(subsystem | IPCTNL_MSG_EXP_GET, NLM_F_DUMP).fixed(
    Uint8Array.of(0, 0, 0, 0),
  );
  return new TableDump("read the table of expected sessions", subsystem | IPCTNL_MSG_EXP_NEW, request);
}

/** Opens the socket by which masters are looked up, in the network namespace of the calling thread. */
export function openExpectationTeller(policy: SessionPolicy): ExpectationTeller {
  return new ExpectationTeller(policy, openSessionExchange(1));
}

/** An event whose master was not there yet. */
interface Early {
  readonly message: Uint8Array;
  /** By `performance.now`: given up then. */
  readonly until: number;
}

export class ExpectationTeller {
  readonly #policy: SessionPolicy;
  readonly #kernel: SessionExchange;
  readonly #fields = new ExpectationFields();
  readonly #other = new ExpectationFields();
  readonly #master = new SessionFields();
  /**
   * A helper reads the first packet of its session before the kernel has confirmed that session: SIP expects calls from
   * the REGISTER on. The event may be read before the packet is through.
   */
  #early: Early[] = [];

  constructor(policy: SessionPolicy, kernel: SessionExchange) {
    this.#policy = policy;
    this.#kernel = kernel;
  }

  /**
   * Appends what the message (an event, or an entry of a dump) says as a create, always behind its master's. Who has something
   * to expect is worth a record in any state; and what was sent of it cannot be told from what it is now: its answer may
   * wait behind this very event. Besides no event tells of the sequence numbers that its helper has moved meanwhile.
   */
  told(bytes: Uint8Array, start: number, end: number, batch: RecordBatch): ExpectationTold {
    const fields = this.#fields;
    if (!readExpectationMessage(bytes, start, end, fields) || !isCarried(fields)) return ExpectationTold.Done;
    if (!batch.hasRoom(2)) return ExpectationTold.NoRoom;
    const master = lookUpMaster(this.#kernel, fields, this.#master);
    if (master === null) return ExpectationTold.NoMaster;
    if (!this.#policy.carries(master)) return ExpectationTold.Done;
    batch.append(SessionOperation.Create, master);
    batch.appendExpectation(SessionOperation.Create, fields);
    return ExpectationTold.Done;
  }

  /** As `told`, for an event and a batch with room for two: where the master is not there yet, `again` tries again. */
  began(bytes: Uint8Array, start: number, end: number, batch: RecordBatch): void {
    if (this.told(bytes, start, end, batch) !== ExpectationTold.NoMaster) return;
    // More than the bound are forgotten: they are told by the next dump of the table.
    if (this.#early.length < EXPECTATIONS_EARLY_MAX)
      this.#early.push({ message: bytes.slice(start, end), until: performance.now() + EXPECTATION_EARLY_MS });
  }

  /** Tries again what came too early. */
  again(batch: RecordBatch): void {
    if (this.#early.length === 0) return;
    const now = performance.now();
    this.#early = this.#early.filter(
      ({ message, until }) =>
        this.told(message, 0, message.length, batch) !== ExpectationTold.Done && now < until,
    );
  }

  /** Appends the end that the event tells. It may be of one that was never sent, which is no error at the peer's. */
  ended(bytes: Uint8Array, start: number, end: number, batch: RecordBatch): void {
    const fields = this.#fields;
    if (!readExpectationMessage(bytes, start, end, fields) || !isCarried(fields)) return;
    this.#early = this.#early.filter(({ message }) => {
      readExpectationMessage(message, 0, message.length, this.#other);
      return !sameExpectation(fields, this.#other);
    });
    batch.appendExpectation(SessionOperation.Delete, fields);
  }

  /** Forgets what came too early. */
  discard(): void {
    this.#early = [];
  }

  close(): void {
    this.#kernel.close();
  }
}

/** The session that expects, null where it is not there. `scratch` is written over. */
export function lookUpMaster(
  kernel: SessionExchange,
  expectation: ExpectationFields,
  scratch: SessionFields,
): SessionFields | null {
  scratch.clear();
  scratch.bytes = expectation.bytes;
  scratch.family = expectation.family;
  scratch.protocol = expectation.masterProtocol;
  scratch.originalSource = expectation.masterSource;
  scratch.originalDestination = expectation.masterDestination;
  scratch.originalA = expectation.masterA;
  scratch.originalB = expectation.masterB;
  let found = false;
  kernel.begin();
  kernel.requests.get(scratch, kernel.sequence);
  kernel.perform(1, () => {
    found = true;
  });
  return found ? kernel.found : null;
}

/** Whether both have the same key. */
function sameExpectation(left: ExpectationFields, right: ExpectationFields): boolean {
  if (left.family !== right.family || left.protocol !== right.protocol) return false;
  if (left.a !== right.a || left.b !== right.b) return false;
  const size = left.addressBytes;
  return (
    sameBytes(left.bytes, left.source, right.bytes, right.source, size) &&
    sameBytes(left.bytes, left.destination, right.bytes, right.destination, size)
  );
}
