// Sessions into the kernel: the hot path of the standby. Records are turned into netlink requests, many a send;
// the kernel works through them inside that one system call, and only what it refuses is read back, without
// blocking, and matched by sequence number. Never trusts: `apply` wants records that validateRecords accepted.
// What an acknowledgement to the peer means ("in the standby's kernel") is true when `apply` has returned.

import { MARK_GENERATION_SHIFT, MARK_LINK_MASK, SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import { IPCTNL_MSG_CT_NEW, NFNL_SUBSYS_CTNETLINK, readConntrack } from "../wire/conntrack.ts";
import { ConntrackRequests } from "../wire/conntrackWrite.ts";
import { HOST_LITTLE_ENDIAN, NETLINK_NETFILTER, NLMSG_ERROR, NLMSG_HDRLEN } from "../wire/netlink.ts";
import { readRecord, recordOperation, SessionOperation, sameKey } from "../wire/session.ts";
import { SessionFields, sameTuples } from "../wire/sessionFields.ts";
import {
  AF_NETLINK,
  bind,
  close,
  errno,
  errnoName,
  getsockname,
  KernelError,
  MSG_DONTWAIT,
  messageVector,
  NETLINK_CAP_ACK,
  recvmmsg,
  SOCK_RAW,
  SOL_NETLINK,
  send,
  setsockoptInt,
  socket,
} from "./libc.ts";
import { netlinkAddress } from "./netlink.ts";
import { openSessionScan } from "./sessionDump.ts";

export interface ApplyResult {
  readonly created: number;
  /** Changed in place; among them creates of what was there already with the same translation. */
  readonly updated: number;
  readonly deleted: number;
  /** Deleted and made anew: another translation stood in the way. */
  readonly replaced: number;
  /** Deletes of what was not there. */
  readonly absent: number;
  /** What the kernel would not take, by errno name: `ENOMEM` is a full table. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface InsertResult {
  readonly inserted: number;
  /** There already: the same session, with the same translation on the same link. */
  readonly same: number;
  /** Either tuple belongs to another session, or to the same one with another translation or link. */
  readonly clashed: number;
  /** What the kernel would not take, by errno name. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface SessionWriter {
  /** Own netlink port id, for `SessionEventsOptions.ignore`. */
  readonly portId: number;
  /**
   * Writes the records (validated, `count` of them, in order; the last word on a session wins) into the kernel,
   * marked with `generation` 0..3 in bits 28-29. Synchronous: about 3 us a record.
   */
  apply(bytes: Uint8Array, count: number, generation: number): ApplyResult;
  /**
   * Adds those of the records (validated creates, `count` of them) whose tuples are free, as made on this node, for
   * the time left to them, or 600 s where they end by silence. What is there is never touched. Synchronous.
   */
  insert(bytes: Uint8Array, count: number): InsertResult;
  /**
   * Ends every entry of these links with another generation than `generation`: the end of a snapshot, which is
   * a set. Returns how many it ended. Synchronous: two walks of the table (25 ms each for 262,144 buckets), and
   * about 7 us an entry that goes. Call it from the writer's network namespace.
   */
  sweep(linkIds: readonly number[], generation: number): number;
  close(): void;
}

/** Opens the writer's sockets, in the network namespace of the calling thread. Throws KernelError. */
export function openSessionWriter(): SessionWriter {
  const operation = "open the session writer's socket";
  const fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, operation);
  try {
    bind(fd, netlinkAddress(), operation);
    // A refusal then echoes the request's header only.
    setsockoptInt(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1, operation);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new Writer(fd);
}

const TYPE_NEW = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
/** The longest answer to a `get`; a refusal is far shorter. */
const ANSWER_BYTES_MAX = 2048;
/** A record that clashes takes three requests: two deletes, one create. */
const REQUESTS_PER_REPLACEMENT = 3;

interface Counts {
  created: number;
  updated: number;
  deleted: number;
  replaced: number;
  absent: number;
  refused: Record<string, number>;
}

interface InsertCounts {
  inserted: number;
  same: number;
  clashed: number;
  refused: Record<string, number>;
}

class Writer implements SessionWriter {
  readonly portId: number;
  readonly #fd: number;
  readonly #requests = new ConntrackRequests(SESSION_REQUESTS_PER_SEND * REQUESTS_PER_REPLACEMENT);
  readonly #answers = messageVector(SESSION_REQUESTS_PER_SEND, ANSWER_BYTES_MAX);
  readonly #answerView: DataView;
  readonly #fields = new SessionFields();
  readonly #found = new SessionFields();
  /** Start of each record of the chunk in hand, and the errno of each request of the last send. */
  readonly #offsets = new Uint32Array(SESSION_REQUESTS_PER_SEND);
  readonly #errors = new Int32Array(SESSION_REQUESTS_PER_SEND * REQUESTS_PER_REPLACEMENT);
  /** Which records of the chunk the kernel holds already, as `#look` found. */
  readonly #there = new Uint8Array(SESSION_REQUESTS_PER_SEND);
  #looksFirst = false;
  #sequence = 1;

  constructor(fd: number) {
    this.#fd = fd;
    const address = new Uint8Array(12);
    getsockname(fd, address);
    this.portId = new DataView(address.buffer).getUint32(4, HOST_LITTLE_ENDIAN);
    const { buffer } = this.#answers;
    this.#answerView = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  }

  apply(bytes: Uint8Array, count: number, generation: number): ApplyResult {
    const counts: Counts = { created: 0, updated: 0, deleted: 0, replaced: 0, absent: 0, refused: {} };
    let offset = 0;
    for (let done = 0; done < count; ) {
      const chunk = Math.min(SESSION_REQUESTS_PER_SEND, count - done);
      offset = this.#applyChunk(bytes, offset, chunk, generation, counts);
      done += chunk;
    }
    return counts;
  }

  /** One send. Returns the offset behind the last record. */
  #applyChunk(bytes: Uint8Array, start: number, chunk: number, generation: number, counts: Counts): number {
    const fields = this.#fields;
    const looked = this.#looksFirst && this.#look(bytes, start, chunk);
    this.#begin();
    let offset = start;
    for (let index = 0; index < chunk; index += 1) {
      this.#offsets[index] = offset;
      offset = this.#record(bytes, offset);
      const sequence = this.#sequence + index;
      const there = looked && this.#there[index] === 1;
      if (fields.operation === SessionOperation.Create && !there)
        this.#requests.create(fields, sequence, generation);
      else if (fields.operation === SessionOperation.Create)
        this.#requests.update(fields, sequence, generation);
      else if (fields.operation === SessionOperation.Update)
        this.#requests.update(fields, sequence, generation);
      else this.#requests.delete(fields, sequence, "original");
    }
    const failures = this.#exchange(chunk, null);
    const disputed: number[] = [];
    for (let index = 0; index < chunk; index += 1)
      this.#judge(bytes, index, chunk, failures > 0 ? this.#errors[index]! : 0, counts, disputed, looked);
    if (disputed.length > 0) this.#settle(bytes, disputed, generation, counts);
    return offset;
  }

  /**
   * A create that clashes costs the kernel three requests, a look beforehand two. So after a chunk whose creates
   * were mostly there already (a snapshot over a table in good order), the next is looked up first; until looking
   * finds less than half. True where some of the chunk's creates were found.
   */
  #look(bytes: Uint8Array, start: number, chunk: number): boolean {
    this.#there.fill(0);
    this.#begin();
    let creates = 0;
    let offset = start;
    for (let index = 0; index < chunk; index += 1) {
      this.#offsets[index] = offset;
      offset = this.#record(bytes, offset);
      if (this.#fields.operation !== SessionOperation.Create) continue;
      creates += 1;
      this.#requests.get(this.#fields, this.#sequence + index);
    }
    if (creates === 0) return false;
    let there = 0;
    this.#exchange(chunk, (index) => {
      this.#record(bytes, this.#offsets[index]!);
      if (!sameTuples(this.#fields, this.#found)) return;
      this.#there[index] = 1;
      there += 1;
    });
    this.#looksFirst = there * 2 >= creates;
    return there > 0;
  }

  /** Counts what went well; what did not, and is worth a second look, goes into `disputed` (record offsets). */
  #judge(
    bytes: Uint8Array,
    index: number,
    chunk: number,
    error: number,
    counts: Counts,
    disputed: number[],
    looked: boolean,
  ): void {
    const offset = this.#offsets[index]!;
    const operation = recordOperation(bytes, offset);
    if (operation === SessionOperation.Delete) {
      if (error === 0) counts.deleted += 1;
      else if (error === errno.ENOENT) counts.absent += 1;
      else refuse(counts, error);
      return;
    }
    if (error === 0) {
      const there = looked && this.#there[index] === 1;
      if (operation === SessionOperation.Create && !there) counts.created += 1;
      else counts.updated += 1;
      return;
    }
    if (isWhole(error)) {
      refuse(counts, error);
      return;
    }
    // A later record of this chunk on the same session was carried out already: it has the last word.
    const last = this.#lastWord(bytes, index, chunk);
    if (recordOperation(bytes, last) === SessionOperation.Delete) counts.updated += 1;
    else if (!disputed.includes(last)) disputed.push(last);
    else counts.updated += 1;
  }

  /** Offset of the last record of the chunk that is about the same session as record `index`. */
  #lastWord(bytes: Uint8Array, index: number, chunk: number): number {
    for (let later = chunk - 1; later > index; later -= 1)
      if (sameKey(bytes, this.#offsets[index]!, this.#offsets[later]!)) return this.#offsets[later]!;
    return this.#offsets[index]!;
  }

  /**
   * Records that the kernel would not take as they stood: look at what is there. The same session with the same
   * translation is updated in place, so that a snapshot over a table in good order never tears a hole into it;
   * anything else goes, whichever of the two tuples it occupies, and the record's entry takes its place.
   */
  #settle(bytes: Uint8Array, disputed: readonly number[], generation: number, counts: Counts): void {
    const same = new Set<number>();
    this.#begin();
    disputed.forEach((offset, index) => {
      this.#record(bytes, offset);
      this.#requests.get(this.#fields, this.#sequence + index);
    });
    this.#exchange(disputed.length, (index) => {
      this.#record(bytes, disputed[index]!);
      if (sameTuples(this.#fields, this.#found)) same.add(disputed[index]!);
    });
    if (same.size * 2 > SESSION_REQUESTS_PER_SEND) this.#looksFirst = true;
    const clashing = disputed.filter((offset) => !same.has(offset));
    for (const offset of this.#updateInPlace(bytes, [...same], generation, counts)) clashing.push(offset);
    if (clashing.length > 0) this.#replace(bytes, clashing, generation, counts);
  }

  /** Returns those that could not be updated after all. */
  #updateInPlace(
    bytes: Uint8Array,
    offsets: readonly number[],
    generation: number,
    counts: Counts,
  ): readonly number[] {
    if (offsets.length === 0) return [];
    this.#begin();
    offsets.forEach((offset, index) => {
      this.#record(bytes, offset);
      this.#requests.update(this.#fields, this.#sequence + index, generation);
    });
    this.#exchange(offsets.length, null);
    const left = offsets.filter((_, index) => this.#errors[index] !== 0);
    counts.updated += offsets.length - left.length;
    return left;
  }

  #replace(bytes: Uint8Array, offsets: readonly number[], generation: number, counts: Counts): void {
    this.#begin();
    offsets.forEach((offset, index) => {
      this.#record(bytes, offset);
      const sequence = this.#sequence + index * REQUESTS_PER_REPLACEMENT;
      this.#requests.delete(this.#fields, sequence, "original");
      this.#requests.delete(this.#fields, sequence + 1, "reply");
      this.#requests.create(this.#fields, sequence + 2, generation);
    });
    this.#exchange(offsets.length * REQUESTS_PER_REPLACEMENT, null);
    const left: number[] = [];
    offsets.forEach((offset, index) => {
      const at = index * REQUESTS_PER_REPLACEMENT;
      if (this.#errors[at + 2] !== 0) left.push(offset);
      else if (this.#errors[at] === 0 || this.#errors[at + 1] === 0) counts.replaced += 1;
      else counts.created += 1;
    });
    if (left.length > 0) this.#createBare(bytes, left, generation, counts);
  }

  /** The last attempt: without what this kernel may lack (a helper's module, the master's entry, labels). */
  #createBare(bytes: Uint8Array, offsets: readonly number[], generation: number, counts: Counts): void {
    this.#begin();
    offsets.forEach((offset, index) => {
      this.#record(bytes, offset);
      this.#requests.create(this.#fields, this.#sequence + index, generation, true);
    });
    this.#exchange(offsets.length, null);
    offsets.forEach((_, index) => {
      const error = this.#errors[index]!;
      if (error === 0) counts.created += 1;
      else refuse(counts, error);
    });
  }

  insert(bytes: Uint8Array, count: number): InsertResult {
    const counts: InsertCounts = { inserted: 0, same: 0, clashed: 0, refused: {} };
    let offset = 0;
    for (let done = 0; done < count; ) {
      const chunk = Math.min(SESSION_REQUESTS_PER_SEND, count - done);
      const offsets: number[] = [];
      for (let index = 0; index < chunk; index += 1) {
        offsets.push(offset);
        offset = this.#record(bytes, offset);
      }
      this.#insertChunk(bytes, offsets, counts);
      done += chunk;
    }
    return counts;
  }

  /** Looks before it writes where most of the chunk before was there already, as `apply` does. */
  #insertChunk(bytes: Uint8Array, offsets: readonly number[], counts: InsertCounts): void {
    const before = counts.same + counts.clashed;
    const free = this.#looksFirst ? this.#absent(bytes, offsets, counts) : offsets;
    const disputed = this.#insertNew(bytes, free, false, counts);
    // Nobody has the original tuple: somebody has the reply's, or this kernel lacks what the session comes with.
    const left = this.#absent(bytes, disputed, counts);
    this.#looksFirst = (counts.same + counts.clashed - before) * 2 >= offsets.length;
    counts.clashed += this.#insertNew(bytes, left, true, counts).length;
  }

  /** Counts the records whose original tuple is taken, as the same or as a clash; returns the others. */
  #absent(bytes: Uint8Array, offsets: readonly number[], counts: InsertCounts): readonly number[] {
    if (offsets.length === 0) return offsets;
    const absent = new Set(offsets);
    this.#begin();
    offsets.forEach((offset, index) => {
      this.#record(bytes, offset);
      this.#requests.get(this.#fields, this.#sequence + index);
    });
    this.#exchange(offsets.length, (index) => {
      this.#record(bytes, offsets[index]!);
      absent.delete(offsets[index]!);
      const sameLink = ((this.#fields.mark ^ this.#found.mark) & MARK_LINK_MASK) === 0;
      if (sameLink && sameTuples(this.#fields, this.#found)) counts.same += 1;
      else counts.clashed += 1;
    });
    return [...absent];
  }

  /** Returns those that the kernel would not take for a reason of the record's own. */
  #insertNew(
    bytes: Uint8Array,
    offsets: readonly number[],
    bare: boolean,
    counts: InsertCounts,
  ): readonly number[] {
    if (offsets.length === 0) return offsets;
    this.#begin();
    offsets.forEach((offset, index) => {
      this.#record(bytes, offset);
      this.#requests.create(this.#fields, this.#sequence + index, 0, bare, true);
    });
    this.#exchange(offsets.length, null);
    return offsets.filter((_, index) => {
      const error = this.#errors[index]!;
      if (error === 0) counts.inserted += 1;
      else if (isWhole(error) || (bare && error !== errno.EEXIST)) refuse(counts, error);
      else return true;
      return false;
    });
  }

  sweep(linkIds: readonly number[], generation: number): number {
    const links = new Set(linkIds);
    // Other than `generation` means that one of its two bits differs: two walks of the table, whatever the number
    // of links, in which the kernel copies little but what has to go. (A filtered flush takes a walk for each link.)
    return [1, 2].reduce((swept, bit) => swept + this.#sweepBit(links, (~generation & bit) !== 0, bit), 0);
  }

  #sweepBit(links: ReadonlySet<number>, set: boolean, bit: number): number {
    const generation = (bit << MARK_GENERATION_SHIFT) >>> 0;
    const [only] = links;
    const mark =
      links.size === 1 && only !== undefined
        ? { value: (set ? generation : 0) | only, mask: generation | MARK_LINK_MASK }
        : { value: set ? generation : 0, mask: generation };
    const table = openSessionScan({ mark });
    let swept = 0;
    let pending = 0;
    const flush = (): void => {
      if (pending === 0) return;
      this.#exchange(pending, null);
      for (let index = 0; index < pending; index += 1) if (this.#errors[index] === 0) swept += 1;
      pending = 0;
      this.#begin();
    };
    this.#begin();
    try {
      const take = (fields: SessionFields): boolean => {
        if (!links.has(fields.mark & MARK_LINK_MASK)) return true;
        this.#requests.delete(fields, this.#sequence + pending, "original");
        pending += 1;
        if (pending === SESSION_REQUESTS_PER_SEND) flush();
        return true;
      };
      while (table.next(take));
      flush();
      return swept;
    } finally {
      table.close();
    }
  }

  close(): void {
    close(this.#fd);
  }

  #begin(): void {
    this.#requests.reset();
  }

  #record(bytes: Uint8Array, offset: number): number {
    const end = readRecord(bytes, offset, this.#fields);
    if (end < 0) throw new Error(`session records at ${offset} were not validated`);
    return end;
  }

  /**
   * Sends the buffered requests and reads what the kernel has to say about them; it has worked through all of
   * them when `send` returns. Fills `#errors` and returns how many failed. `found` gets the index of a request
   * that was answered with an entry, which is then in `#found`.
   */
  #exchange(count: number, found: ((index: number) => void) | null): number {
    const base = this.#sequence;
    this.#sequence = (base + count) & 0x3fffffff;
    this.#errors.fill(0, 0, count);
    const sent = send(this.#fd, this.#requests.bytes, this.#requests.length);
    if (sent < 0) {
      this.#errors.fill(-sent, 0, count);
      return count;
    }
    let failures = 0;
    for (;;) {
      const read = recvmmsg(this.#fd, this.#answers.headers, SESSION_REQUESTS_PER_SEND, MSG_DONTWAIT);
      if (read === -errno.EAGAIN!) return failures;
      if (read === -errno.EINTR!) continue;
      if (read < 0) throw new KernelError("read the kernel's answers about sessions", -read);
      for (let slot = 0; slot < read; slot += 1) failures += this.#take(slot, base, count, found);
    }
  }

  /** 1 where the answer is a refusal, else 0. */
  #take(slot: number, base: number, count: number, found: ((index: number) => void) | null): number {
    const view = this.#answerView;
    const start = slot * ANSWER_BYTES_MAX;
    const length = this.#answers.length(slot);
    if (length < NLMSG_HDRLEN + 4) return 0;
    const index = view.getUint32(start + 8, HOST_LITTLE_ENDIAN) - base;
    if (index < 0 || index >= count) return 0;
    const type = view.getUint16(start + 4, HOST_LITTLE_ENDIAN);
    if (type === NLMSG_ERROR) {
      const error = -view.getInt32(start + NLMSG_HDRLEN, HOST_LITTLE_ENDIAN);
      this.#errors[index] = error;
      return error === 0 ? 0 : 1;
    }
    if (type === TYPE_NEW && found !== null)
      if (readConntrack(this.#answers.buffer, start, start + length, this.#found)) found(index);
    return 0;
  }
}

/** The kernel takes nothing at all, whatever the record: no room, no leave. */
const isWhole = (error: number): boolean =>
  error === errno.ENOMEM || error === errno.ENOSPC || error === errno.ENOBUFS || error === errno.EPERM;

function refuse(counts: Pick<Counts, "refused">, error: number): void {
  const name = errnoName(error);
  counts.refused[name] = (counts.refused[name] ?? 0) + 1;
}
