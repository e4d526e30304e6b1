// Limits: every bound of the program in one place, with the asserts that relate them. A queue or a table
// without a line here is a defect. Pure.

import { assert } from "./assert.ts";

/** elfiq-repl, TCP and UDP (IANA). */
export const PORT = 1148;
/** RFC 5082: what a neighbour sends arrives with the hop limit untouched. */
export const HOP_LIMIT = 255;

export const SLOTS = 4096;
export const LINK_ID_MIN = 1;
export const LINK_ID_MAX = 250;
export const LINKS_MAX = 16;
export const PATHS_MAX = 8;
export const ADDRESSES_PER_INTERFACE_MAX = 16;
export const KEYS_PER_NODE_MAX = 2;
export const WEIGHT_MAX = 1000;

/** Session mark: bits 0-7 link, 8-11 class, 12-27 application, 28-31 flags. */
export const MARK_LINK_MASK = 0x000000ff;
export const MARK_CLASS_SHIFT = 8;
export const MARK_APPLICATION_SHIFT = 12;
export const MARK_FLAGS_MASK = 0xf0000000;
/** Bits 28-29 of the mark: the generation of the snapshot that an entry arrived with, 1..3; 0 = made here. */
export const MARK_GENERATION_SHIFT = 28;
export const MARK_GENERATION_MASK = 0x30000000;

/** Sealed datagrams stay below every path's MTU. */
export const DATAGRAM_BYTES_MAX = 512;
/** Text that a peer sends: a version, a reason. */
export const TEXT_BYTES_MAX = 512;
/** Segments of a node: the LAN and every link; one bit each in a heartbeat. */
export const SEGMENTS_MAX = 1 + LINKS_MAX;
/** Datagrams of one boot that may arrive out of order (RFC 6479): half a second of eight paths at 2 ms. */
export const REPLAY_WINDOW_BITS = 2048;
/** A PEM file with one Ed25519 key has 119 bytes. */
export const KEY_FILE_BYTES_MAX = 4096;
/** One message of the log's connection. */
export const MESSAGE_BYTES_MAX = 1 << 20;
/** One batch of session records inside a message. */
export const BATCH_BYTES_MAX = 64 * 1024;
export const BATCH_RECORDS_MAX = 2048;
/** Unacknowledged log bytes on the active before what follows is marked for a re-read. */
export const LOG_BYTES_MAX = 32 << 20;
/** Keys remembered as changed while a snapshot is under way. */
export const CHANGED_KEYS_MAX = 1 << 22;

export const EVENT_SOCKET_BYTES = 64 << 20;
/** One netlink datagram: the kernel fills dumps up to 32 KiB where the reader offers that much. */
export const NETLINK_RECEIVE_BYTES = 64 * 1024;
export const CONTROL_LINE_BYTES_MAX = 256 * 1024;
export const CONTROL_CLIENTS_MAX = 32;
/** Sessions in one answer of `show sessions`: what surely fits one line of the control socket. */
export const SESSIONS_SHOWN_MAX = 600;
/** One session as JSON, at its longest (three IPv6 addresses, every key). */
export const SESSION_JSON_BYTES_MAX = 400;
/** Length of a Unix socket's path: sun_path of <linux/un.h> less its terminating zero. */
export const SOCKET_PATH_BYTES_MAX = 107;
/** How long the command line waits for an answer of the daemon or of heart. */
export const CONTROL_ANSWER_MS_MAX = 30_000;
export const NEIGHBOURS_MAX = 16384;
/** Neighbours in one message: 25 bytes each at most, well below a message. */
export const NEIGHBOURS_PER_MESSAGE_MAX = 1024;

export const HEARTBEAT_MS_MIN = 2;
export const HEARTBEAT_MS_DEFAULT = 10;
export const DEAD_AFTER_MS_DEFAULT = 50;
export const LEASE_MS_DEFAULT = 40;
export const SOLO_LEASE_MS_DEFAULT = 10_000;

/** Routing: tables and rule preferences that are ours, and nobody else's, while we run. */
export const ROUTE_TABLE_BASE = 114_800;
export const RULE_PREFERENCE_BASE = 1148;
/** `ip route ... proto N`: what we put there is known by it, and cleaned up by it. */
export const ROUTE_PROTOCOL = 148;

assert(LINK_ID_MAX <= MARK_LINK_MASK, "a link id fits its bits of the mark");
assert(SLOTS === 1 << 12, "slots are a power of two");
assert(LEASE_MS_DEFAULT < DEAD_AFTER_MS_DEFAULT, "the lease ends before silence counts as death");
assert(HEARTBEAT_MS_DEFAULT * 3 <= LEASE_MS_DEFAULT, "a lease survives two late renewals");
assert(SEGMENTS_MAX <= 32, "a segment is a bit of a word");
assert(REPLAY_WINDOW_BITS >= (PATHS_MAX * 500) / HEARTBEAT_MS_MIN, "half a second fits the replay window");
assert(BATCH_BYTES_MAX < MESSAGE_BYTES_MAX && MESSAGE_BYTES_MAX < LOG_BYTES_MAX, "batch < message < log");
assert(
  SESSIONS_SHOWN_MAX * SESSION_JSON_BYTES_MAX < CONTROL_LINE_BYTES_MAX,
  "a list of sessions fits a line",
);
