// Owned tables of nftables (Linux 6.9: flags owner and persist). Such a table belongs to one netlink socket: while that is
// open, nobody else can change or remove it, and `nft flush ruleset` passes it by. When it is closed, the table stays
// as it is, an orphan, until somebody removes or adopts it.
//
// libnftables 1.0.6 cannot ask for this, and would write from a socket of its own. So the table is claimed by a
// message that is sent on libnftables' own socket, found among this process's descriptors. The kernel answers inside
// `send`, and the answers are read at once, so the library never meets one that is not its own.
// (net/netfilter/nf_tables_api.c: nf_tables_newtable, nf_tables_updtable, nft_rcv_nl_event.)

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { BoundaryError } from "../base/errors.ts";
import {
  HOST_LITTLE_ENDIAN,
  type Message,
  MessageWriter,
  NETLINK_NETFILTER,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLMSG_ERROR,
  readAcknowledgement,
  readAttributes,
  readBe32,
  readMessages,
  readText,
  stamp,
} from "../wire/netlink.ts";
import * as libc from "./libc.ts";
import { NetlinkSocket } from "./netlink.ts";
import type { TableContents } from "./tableText.ts";

// <linux/netfilter/nf_tables.h>, <linux/netfilter/nfnetlink.h>: the kernel's names kept verbatim.
const NFPROTO = { inet: 1, netdev: 5 } as const;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_GETTABLE = 1;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETSET = 10;
const NFT_MSG_GETGEN = 16;
const NFT_MSG_GETOBJ = 19;
const NFT_TABLE_F_OWNER = 2;
const NFT_TABLE_F_PERSIST = 4;
const NFTA_TABLE_NAME = 1;
const NFTA_TABLE_FLAGS = 2;
const NFTA_TABLE_OWNER = 7;
/** Of chains, sets and objects alike: the table's name. */
const NFTA_TABLE_OF = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_SET_NAME = 2;
const NFTA_SET_FLAGS = 3;
const NFTA_GEN_ID = 1;
const NFTA_OBJ_NAME = 2;
const NFTA_OBJ_TYPE = 3;
const NFT_SET_ANONYMOUS = 1;
const NFT_SET_MAP = 8;
const NFT_OBJECT_COUNTER = 1;
const NFT_OBJECT_CT_HELPER = 3;
/** `struct nfgenmsg { u8 family; u8 version; be16 res_id; }` */
const NFGENMSG_BYTES = 4;
const SO_PROTOCOL = 38;
const ANSWER_BYTES = 8192;

/** Names of a table that is never made, and of one that is never there: to try the kernel with. */
const TRIED_TABLE = "understudy-try";
const ABSENT_TABLE = "understudy-absent";

export type TableFamily = keyof typeof NFPROTO;

export interface TableState {
  /** It outlives its owner. What has no owner and persists is an orphan, and can be adopted. */
  readonly persists: boolean;
  /** Netlink port of the socket that it belongs to, null where it belongs to nobody. */
  readonly owner: number | null;
}

/** Tables of one family, read by plain netlink dumps, which wait for nobody's commit. */
export class TableReader {
  readonly #family: TableFamily;
  readonly #socket = new NetlinkSocket(NETLINK_NETFILTER);

  constructor(family: TableFamily) {
    this.#family = family;
  }

  /** Null where there is no such table. @throws KernelError */
  read(name: string): TableState | null {
    const tables = this.#dump("read the nftables tables", NFT_MSG_GETTABLE);
    const table = tables.find((attributes) => textOf(attributes.get(NFTA_TABLE_NAME)) === name);
    if (table === undefined) return null;
    const flags = readBe32(table.get(NFTA_TABLE_FLAGS)) ?? 0;
    return {
      persists: (flags & NFT_TABLE_F_PERSIST) !== 0,
      owner: readBe32(table.get(NFTA_TABLE_OWNER)) ?? null,
    };
  }

  /**
   * Counts the transactions of this network namespace, of whatever table and whoever's: while it stands, no rule, set or
   * table has changed but by packets. Null where the kernel does not tell. @throws KernelError
   */
  generation(): number | null {
    const request = message(NFT_MSG_GETGEN, this.#family);
    const [answer] = this.#socket.get("read the generation of the ruleset", request);
    const attributes = answer === undefined ? null : readAttributes(answer.payload.subarray(NFGENMSG_BYTES));
    return readBe32(attributes?.get(NFTA_GEN_ID)) ?? null;
  }

  /** What lies in a table. @throws KernelError */
  contents(name: string): TableContents {
    const of = (type: number): Map<number, Uint8Array>[] =>
      this.#dump(`read what is in table ${name}`, type).filter(
        (attributes) => textOf(attributes.get(NFTA_TABLE_OF)) === name,
      );
    const sets = of(NFT_MSG_GETSET).filter((set) => (flagsOf(set) & NFT_SET_ANONYMOUS) === 0);
    const isMap = (set: Map<number, Uint8Array>): boolean => (flagsOf(set) & NFT_SET_MAP) !== 0;
    const setName = (set: Map<number, Uint8Array>): string => textOf(set.get(NFTA_SET_NAME));
    const objects = of(NFT_MSG_GETOBJ);
    const objectNames = (type: number): readonly string[] =>
      objects
        .filter((object) => readBe32(object.get(NFTA_OBJ_TYPE)) === type)
        .map((object) => textOf(object.get(NFTA_OBJ_NAME)));
    return {
      chains: of(NFT_MSG_GETCHAIN).map((chain) => textOf(chain.get(NFTA_CHAIN_NAME))),
      sets: sets.filter((set) => !isMap(set)).map(setName),
      maps: sets.filter(isMap).map(setName),
      counters: objectNames(NFT_OBJECT_COUNTER),
      helpers: objectNames(NFT_OBJECT_CT_HELPER),
    };
  }

  close(): void {
    this.#socket.close();
  }

  #dump(operation: string, type: number): Map<number, Uint8Array>[] {
    const answers = this.#socket.dump(operation, message(type, this.#family), {
      allow: [libc.errno.ENOENT],
    });
    return answers
      .map((answer: Message) => readAttributes(answer.payload.subarray(NFGENMSG_BYTES)))
      .filter((attributes) => attributes !== null);
  }
}

const textOf = (bytes: Uint8Array | undefined): string => (bytes === undefined ? "" : readText(bytes));
const flagsOf = (set: Map<number, Uint8Array>): number => readBe32(set.get(NFTA_SET_FLAGS)) ?? 0;

/** A socket of libnftables', on which tables are claimed. It belongs to the library: never closed or kept here. */
export class ClaimingSocket {
  readonly #fd: number;

  /** A program started from here must not inherit it: it would own the tables for as long as it runs. */
  constructor(fd: number) {
    libc.closeOnExec(fd);
    this.#fd = fd;
  }

  /** The netlink port that owns what is claimed here. */
  get portId(): number {
    const address = new Uint8Array(12);
    libc.getsockname(this.#fd, address);
    return new DataView(address.buffer).getUint32(4, HOST_LITTLE_ENDIAN);
  }

  /**
   * Whether this kernel knows tables with an owner that persist. Tried, in a transaction that cannot succeed as a whole
   * (it ends with the removal of a table that is not there): nothing is made, and nobody is told of anything.
   */
  canClaim(family: TableFamily): boolean {
    const absent = message(NFT_MSG_DELTABLE, family, NLM_F_ACK).text(NFTA_TABLE_NAME, ABSENT_TABLE);
    const [claimed, removed] = this.#batch([claimOf(family, TRIED_TABLE), absent]);
    return claimed === 0 && removed === libc.errno.ENOENT;
  }

  /**
   * Makes the table, empty, as this socket's; or adopts an orphan, with everything in it. Claiming twice changes
   * nothing. @throws KernelError EPERM (another's), EOPNOTSUPP (there is one that does not persist: flags stay as made)
   */
  claim(family: TableFamily, name: string): void {
    const operation = `claim table ${family} ${name}`;
    const [result] = this.#batch([claimOf(family, name)]);
    if (result === undefined) throw new libc.KernelError(operation, libc.errno.ETIMEDOUT!);
    if (result !== 0) throw new libc.KernelError(operation, result);
  }

  /** One transaction; the errno of each message, in order, 0 where it was carried out, undefined without an answer. */
  #batch(messages: readonly MessageWriter[]): (number | undefined)[] {
    const ends = [NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END].map((type) =>
      new MessageWriter(type).fixed(Uint8Array.of(0, 0, 0, NFNL_SUBSYS_NFTABLES)),
    );
    const parts = [ends[0]!, ...messages, ends[1]!].map((writer, sequence) => {
      const bytes = writer.finish();
      stamp(bytes, sequence);
      return bytes;
    });
    const sent = libc.send(this.#fd, Buffer.concat(parts));
    if (sent < 0) throw new libc.KernelError("send to nftables", -sent);
    const results = messages.map((): number | undefined => undefined);
    const buffer = new Uint8Array(ANSWER_BYTES);
    for (;;) {
      const length = libc.recv(this.#fd, buffer, libc.MSG_DONTWAIT);
      if (length === -libc.errno.EINTR!) continue;
      if (length < 0) return results;
      for (const answer of readMessages(buffer.subarray(0, length)) ?? []) {
        if (answer.type !== NLMSG_ERROR) continue;
        const { errno } = readAcknowledgement(answer) ?? { errno: libc.errno.EBADMSG! };
        // The batch as a whole was refused (no permission): then each of its messages was.
        if (answer.sequence === 0) results.fill(errno);
        else if (answer.sequence <= results.length) results[answer.sequence - 1] = errno;
      }
    }
  }
}

function message(type: number, family: TableFamily, flags = 0): MessageWriter {
  const header = Uint8Array.of(NFPROTO[family], 0, 0, 0);
  return new MessageWriter((NFNL_SUBSYS_NFTABLES << 8) | type, flags).fixed(header);
}

const claimOf = (family: TableFamily, name: string): MessageWriter =>
  message(NFT_MSG_NEWTABLE, family, NLM_F_ACK | NLM_F_CREATE)
    .text(NFTA_TABLE_NAME, name)
    .be32(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST);

/**
 * The netfilter socket that `open` opens, found by comparing this process's descriptors; null where not exactly one
 * came (no /proc, a library that works otherwise): then nothing can be claimed.
 */
export function socketOpenedBy(open: () => void): ClaimingSocket | null {
  const before = netfilterSockets();
  open();
  const came = [...netfilterSockets()].filter(([inode]) => !before.has(inode));
  return came.length === 1 ? new ClaimingSocket(came[0]![1]) : null;
}

/** Descriptors of this process that are netfilter netlink sockets, by `socket:[INODE]`. */
function netfilterSockets(): Map<string, number> {
  const found = new Map<string, number>();
  for (const [fd, target] of descriptorsOf("self")) {
    if (!target.startsWith("socket:")) continue;
    try {
      const address = new Uint8Array(128);
      libc.getsockname(fd, address);
      const family = new DataView(address.buffer).getUint16(0, HOST_LITTLE_ENDIAN);
      const isNetfilter = libc.getsockoptInt(fd, libc.SOL_SOCKET, SO_PROTOCOL) === NETLINK_NETFILTER;
      if (family === libc.AF_NETLINK && isNetfilter) found.set(target, fd);
    } catch (error) {
      // One that was closed while the list was read.
      if (!(error instanceof libc.KernelError)) throw error;
    }
  }
  return found;
}

/** Descriptors of a process, with what each leads to; none where it may not be looked at. */
function descriptorsOf(process: string): [fd: number, target: string][] {
  const directory = `/proc/${process}/fd`;
  const attempt = <T>(look: () => T): T | null => {
    try {
      return look();
    } catch {
      return null;
    }
  };
  return (attempt(() => readdirSync(directory)) ?? []).flatMap((fd): [number, string][] => {
    const target = attempt(() => readlinkSync(`${directory}/${fd}`));
    return target === null ? [] : [[Number(fd), target]];
  });
}

/** An error that names who has the table. `owner`: netlink port. */
export function ownedByAnother(operation: string, owner: number): BoundaryError {
  return new BoundaryError({
    operation,
    code: "TABLE_OWNED",
    words: `the table belongs to ${ownerName(owner)}, and nobody else may change it`,
    advice: "Stop that process: what it owned can then be taken over, or removed with `nft delete table`.",
  });
}

/** `process 4711 (nft)`, by the list of netlink sockets; the port's number where no process is found. */
function ownerName(owner: number): string {
  const unknown = `netlink port ${owner}`;
  try {
    const rows = readFileSync("/proc/thread-self/net/netlink", "utf8").split("\n");
    // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
    const row = rows
      .map((line) => line.trim().split(/\s+/))
      .find((fields) => Number(fields[1]) === NETLINK_NETFILTER && Number(fields[2]) === owner);
    const socket = `socket:[${row?.[9]}]`;
    const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    const process = processes.find((each) => descriptorsOf(each).some(([, target]) => target === socket));
    if (row === undefined || process === undefined) return unknown;
    return `process ${process} (${readFileSync(`/proc/${process}/comm`, "utf8").trim()})`;
  } catch {
    return unknown;
  }
}
