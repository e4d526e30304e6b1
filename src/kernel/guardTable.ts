// The guard of port 1148 in the kernel: put in place, removed, and read. What it says is core/guard.ts; who is told
// is the daemon's business. Reading is by plain netlink dumps, which wait for nobody's transaction: `nft list` is
// started over by each.

import { formatAddress } from "../base/addresses.ts";
import type { Config } from "../core/config.ts";
import {
  compileGuard,
  GUARD_TABLE,
  type GuardReading,
  type GuardReason,
  type Offender,
  offendersSet,
  REMEMBERED_REASONS,
} from "../core/guard.ts";
import {
  forEachAttribute,
  MessageWriter,
  NETLINK_NETFILTER,
  readAttributes,
  readText,
} from "../wire/netlink.ts";
import { errno } from "./libc.ts";
import { NetlinkSocket } from "./netlink.ts";
import { applyTable, removeTable } from "./rulesetTable.ts";
import type { OwnTables } from "./tables.ts";

// <linux/netfilter/nf_tables.h>, <linux/netfilter/nfnetlink.h>: the kernel's names kept verbatim.
const NFPROTO_INET = 1;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETSETELEM = 13;
const NFT_MSG_GETOBJ = 19;
const NFT_OBJECT_COUNTER = 1;
const NFTA_OBJ_TABLE = 1;
const NFTA_OBJ_NAME = 2;
const NFTA_OBJ_TYPE = 3;
const NFTA_OBJ_DATA = 4;
const NFTA_COUNTER_PACKETS = 2;
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_DATA_VALUE = 1;
/** `struct nfgenmsg { u8 family; u8 version; be16 res_id; }` */
const NFGENMSG_BYTES = 4;

/** Puts the guard in place where it is not as it should be; true where it was not. @throws BoundaryError */
export function applyGuard(config: Config, tables?: OwnTables): boolean {
  return applyTable(GUARD_TABLE, compileGuard(config), tables);
}

/** Removing the absent succeeds. @throws BoundaryError */
export function removeGuard(tables?: OwnTables): void {
  removeTable(GUARD_TABLE, tables);
}

/** Reads counters and offenders, in the network namespace in which it was made. */
export class GuardReader {
  readonly #socket = new NetlinkSocket(NETLINK_NETFILTER);

  /** Null where there is no such table. @throws KernelError */
  read(): GuardReading | null {
    const counters = this.#counters();
    if (Object.keys(counters).length === 0) return null;
    const offenders = REMEMBERED_REASONS.flatMap((reason) => [
      ...this.#offenders(reason, 4),
      ...this.#offenders(reason, 6),
    ]);
    return { counters, offenders };
  }

  close(): void {
    this.#socket.close();
  }

  #counters(): Record<string, number> {
    const asked = request(NFT_MSG_GETOBJ)
      .text(NFTA_OBJ_TABLE, GUARD_TABLE)
      .be32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
    const answers = this.#socket.dump("read the guard's counters", asked, { allow: [errno.ENOENT] });
    const counters: Record<string, number> = {};
    for (const { payload } of answers) {
      const attributes = readAttributes(payload.subarray(NFGENMSG_BYTES));
      const name = attributes?.get(NFTA_OBJ_NAME);
      const table = attributes?.get(NFTA_OBJ_TABLE);
      if (name === undefined || table === undefined || readText(table) !== GUARD_TABLE) continue;
      const data = readAttributes(attributes?.get(NFTA_OBJ_DATA) ?? new Uint8Array(0));
      counters[readText(name)] = readBe64(data?.get(NFTA_COUNTER_PACKETS));
    }
    return counters;
  }

  #offenders(reason: GuardReason, family: 4 | 6): Offender[] {
    const asked = request(NFT_MSG_GETSETELEM)
      .text(NFTA_SET_ELEM_LIST_TABLE, GUARD_TABLE)
      .text(NFTA_SET_ELEM_LIST_SET, offendersSet(reason, family));
    const answers = this.#socket.dump("read who sends to port 1148", asked, { allow: [errno.ENOENT] });
    const found: Offender[] = [];
    for (const { payload } of answers) {
      const attributes = readAttributes(payload.subarray(NFGENMSG_BYTES));
      const elements = attributes?.get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? new Uint8Array(0);
      forEachAttribute(elements, (_type, element) => {
        const key = readAttributes(readAttributes(element)?.get(NFTA_SET_ELEM_KEY) ?? new Uint8Array(0));
        const value = key?.get(NFTA_DATA_VALUE);
        const addressBytes = family === 4 ? 4 : 16;
        if (value === undefined || value.length <= addressBytes) return;
        const source = formatAddress(value.subarray(0, addressBytes));
        found.push({ reason, source, device: readText(value.subarray(addressBytes)) });
      });
    }
    return found;
  }
}

function request(type: number): MessageWriter {
  const header = new Uint8Array(NFGENMSG_BYTES);
  header[0] = NFPROTO_INET;
  return new MessageWriter((NFNL_SUBSYS_NFTABLES << 8) | type).fixed(header);
}

/** A counter; what does not fit a number is not reached in anybody's lifetime. */
function readBe64(payload: Uint8Array | undefined): number {
  if (payload?.length !== 8) return 0;
  return Number(new DataView(payload.buffer, payload.byteOffset, 8).getBigUint64(0));
}
