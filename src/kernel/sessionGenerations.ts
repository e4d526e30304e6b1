// What a standby has to know of its own table (replication §2): which generations its entries carry, asked once at start;
// the removal of one that is needed again; and the keys of all that is there, for the sweep of a round. Generations are
// two bits of the mark; everything else about marks is elsewhere.

import { LINK_ID_MAX, MARK_GENERATION_MASK, MARK_GENERATION_SHIFT, MARK_LINK_MASK } from "../base/limits.ts";
import { CTA_MARK, CTA_MARK_MASK, IPCTNL_MSG_CT_DELETE, NFNL_SUBSYS_CTNETLINK } from "../wire/conntrack.ts";
import { readExpectationMessage } from "../wire/conntrackExpect.ts";
import { ExpectationFields, isCarried } from "../wire/expectation.ts";
import { MessageWriter, NETLINK_NETFILTER } from "../wire/netlink.ts";
import { type RecordBatch, SessionOperation } from "../wire/session.ts";
import { SessionFields } from "../wire/sessionFields.ts";
import { lookUpMaster, openExpectationTable } from "./expectationTeller.ts";
import { NetlinkSocket } from "./netlink.ts";
import { openSessionScan, type SessionDump, type SessionScan } from "./sessionDump.ts";
import { openSessionExchange, type SessionExchange } from "./sessionExchange.ts";
import type { TableDump } from "./tableDump.ts";

const GENERATIONS = [0, 1, 2, 3] as const;

/**
 * Those of 0..3 that at least one of the pair's entries carries; 0 is what was made on this node, while it was
 * active. Walks the table up to four times, copies almost nothing.
 */
export function carriedGenerations(): readonly number[] {
  return GENERATIONS.filter((generation) => {
    const mark = { value: generation << MARK_GENERATION_SHIFT, mask: MARK_GENERATION_MASK };
    const scan = openSessionScan({ mark });
    try {
      let found = false;
      // A node's own sessions carry generation 0 as well, and no link.
      const take = ({ mark: carried }: SessionFields): boolean => {
        found = (carried & MARK_LINK_MASK) !== 0;
        return !found;
      };
      while (!found && scan.next(take));
      return found;
    } finally {
      scan.close();
    }
  });
}

/** Ends every entry of these links (1..250) that carries `generation` (1..3). Throws KernelError. */
export function purgeGeneration(linkIds: readonly number[], generation: number): void {
  const socket = new NetlinkSocket(NETLINK_NETFILTER);
  try {
    for (const linkId of linkIds) {
      if (linkId < 1 || linkId > LINK_ID_MAX) continue;
      const request = new MessageWriter((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE)
        .fixed(Uint8Array.of(0, 0, 0, 0))
        .be32(CTA_MARK, linkId | (generation << MARK_GENERATION_SHIFT))
        .be32(CTA_MARK_MASK, MARK_LINK_MASK | MARK_GENERATION_MASK);
      socket.request(`remove generation ${generation} of link ${linkId}`, request);
    }
  } finally {
    socket.close();
  }
}

/**
 * Every entry of the pair's, whatever its state, as a delete record: the session's key; behind them what is expected on
 * account of them. One netlink datagram a step, as `openSessionDump`; in the network namespace of the calling thread.
 */
export function openKeyDump(): SessionDump {
  const scan = openSessionScan();
  const open: { close(): void }[] = [scan];
  try {
    const kernel = openSessionExchange(1);
    open.push(kernel);
    return new KeyDump(scan, kernel, openExpectationTable());
  } catch (error) {
    for (const each of open) each.close();
    throw error;
  }
}

class KeyDump implements SessionDump {
  readonly #scan: SessionScan;
  readonly #kernel: SessionExchange;
  readonly #table: TableDump;
  readonly #fields = new ExpectationFields();
  readonly #master = new SessionFields();
  #batch: RecordBatch | null = null;
  #sessionsDone = false;

  constructor(scan: SessionScan, kernel: SessionExchange, table: TableDump) {
    this.#scan = scan;
    this.#kernel = kernel;
    this.#table = table;
  }

  next(batch: RecordBatch): boolean {
    this.#batch = batch;
    if (this.#sessionsDone) return this.#table.next(this.#takeExpectation);
    this.#sessionsDone = !this.#scan.next(this.#take);
    return true;
  }

  close(): void {
    this.#scan.close();
    this.#table.close();
    this.#kernel.close();
  }

  readonly #take = (fields: SessionFields): boolean => {
    if ((fields.mark & MARK_LINK_MASK) === 0) return true;
    return this.#batch?.append(SessionOperation.Delete, fields) === true;
  };

  readonly #takeExpectation = (bytes: Uint8Array, start: number, end: number): boolean => {
    const fields = this.#fields;
    if (!readExpectationMessage(bytes, start, end, fields) || !isCarried(fields)) return true;
    const master = lookUpMaster(this.#kernel, fields, this.#master);
    if (master === null || (master.mark & MARK_LINK_MASK) === 0) return true;
    return this.#batch?.appendExpectation(SessionOperation.Delete, fields) === true;
  };
}
