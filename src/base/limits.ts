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
export const WEIGHT_DEFAULT = 1;
export const WITNESSES_MAX = 8;
export const ROUTES_MAX = 64;
export const HELPERS_MAX = 16;
/** Descriptions of sessions that are not replicated: each costs the kernel's filter of session events up to 60 steps. */
export const SENDING_EXCEPTIONS_MAX = 32;
/** Logical names that a node's file maps: the LAN, the links and the paths, each with a port of its own. */
export const INTERFACES_MAX = 1 + LINKS_MAX + PATHS_MAX;
export const NAME_LENGTH_MAX = 32;
export const PRIORITY_MAX = 255;
export const PRIORITY_DEFAULT = 50;
/** A line's rate: 8 kbit/s is slower than any, so that a forgotten `M` is noticed. */
export const CAPACITY_BPS_MIN = 8_000;
export const CAPACITY_BPS_MAX = 1_000_000_000_000;
/** A configuration file; the largest one that the other limits allow is far below. */
export const CONFIGURATION_BYTES_MAX = 256 * 1024;
/** Versions that a node keeps, in number and in bytes of text: the oldest go first, the one in force never. */
export const CONFIGURATION_VERSIONS_MAX = 1000;
export const CONFIGURATION_STORE_BYTES_MAX = 64 << 20;
/** In one answer of `show config --versions`; each takes some 1,300 bytes of JSON at its longest. */
export const CONFIGURATION_VERSIONS_SHOWN_MAX = 500;
/** Reasons why a node does not take a configuration, in one message; more are counted. */
export const CONFIGURATION_REASONS_MAX = 64;
/** Who applied a configuration: a user's name. */
export const AUTHOR_BYTES_MAX = 128;
/** The other node's judgement of a configuration, and the text of one of its versions, are waited for so long. */
export const CONFIGURATION_ANSWER_MS_MAX = 5_000;
/** Until a node has taken a configuration into effect: a rolling restart of both hearts is the longest way. */
export const CONFIGURATION_EFFECT_MS_MAX = 60_000;
/** A version that a node did not take is offered to it again after this time. */
export const CONFIGURATION_RETRY_MS = 30_000;
/** Mistakes named of one file. */
export const CONFIGURATION_ERRORS_MAX = 200;

/** Session mark: bits 0-7 link, 8-11 class, 12-27 application, 28-31 flags. */
export const MARK_LINK_MASK = 0x000000ff;
export const MARK_CLASS_SHIFT = 8;
export const MARK_APPLICATION_SHIFT = 12;
export const MARK_FLAGS_MASK = 0xf0000000;
/** Bits 28-29 of the mark: the generation of the snapshot that an entry arrived with, 1..3; 0 = made here. */
export const MARK_GENERATION_SHIFT = 28;
export const MARK_GENERATION_MASK = 0x30000000;

/** The guard of port 1148: datagrams a second that pass by one path, unless quicker heartbeats need more. */
export const GUARD_DATAGRAMS_PER_SECOND_MIN = 2000;
/** Connections a second that may be begun by one path. */
export const GUARD_CONNECTIONS_PER_SECOND = 100;
export const GUARD_BURST_PACKETS = 200;
/** What waited in a queue while a cable was out comes at once: a thousand frames is a usual queue, on either side. */
export const GUARD_BACKLOG_PACKETS_MAX = 2000;
/** Senders that are remembered, by reason and family, and how many are written down in a second. */
export const GUARD_OFFENDERS_MAX = 256;
export const GUARD_OFFENDERS_PER_SECOND = 50;
/** Senders noted on the replication segment between two looks at them. */
export const THIRD_PARTIES_MAX = 64;
/** Refused datagrams that heart takes from one path in one turn: a flood must not keep it from the others. */
export const HEART_REFUSED_PER_TURN_MAX = 64;

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
/** The longest session record: IPv6, zone, both reply addresses, every optional part (199 bytes), rounded up. */
export const SESSION_RECORD_BYTES_MAX = 256;
/** Remaining time of a session: 2^31 jiffies at the highest HZ (1000), what every kernel can be given. */
export const SESSION_TIMEOUT_SECONDS_MAX = 2_147_483;
/**
 * A refresh by traffic raises no event, so that a session which flows on the active looks idle on the standby. The active
 * says each one's time again in this interval (of those that live long: in every second one), and the standby gives an
 * entry what is left on the active and so many intervals more. What has ended is ended by the active's DESTROY or a sweep.
 */
export const REFRESH_ROUND_MS = 300_000;
export const STANDBY_ROUNDS = 3;
/** Least time that a standby gives an entry of an active that speaks version 1, and refreshes nothing: a quarter of a day. */
export const SESSION_STANDBY_SECONDS_MIN = 21_600;
/** After a takeover: when the new active begins to set back the times of what nobody speaks in; most speak at once. */
export const SET_BACK_DELAY_MS = 1000;
/** Between two datagrams of the table (some 130 entries each): nine times what the last one took, within these bounds. */
export const SET_BACK_PACE_SHARE = 9;
export const SET_BACK_PACE_MS_MIN = 10;
export const SET_BACK_PACE_MS_MAX = 25;
/** Walks of the table: the second one looks for what changed while the first one read it. */
export const SET_BACK_PASSES = 2;
/** After the kernel refused to have its table read. */
export const SET_BACK_RETRY_MS = 5000;
/** Session requests in one send to the kernel. */
export const SESSION_REQUESTS_PER_SEND = 64;
/** Events of what a helper expects that came before the session that expects, and how long that one is waited for. */
export const EXPECTATIONS_EARLY_MAX = 256;
export const EXPECTATION_EARLY_MS = 1000;
/** Helpers that a standby remembers not to have. */
export const HELPERS_LACKING_MAX = 32;
/** Expectations that a standby remembers having heard of in a snapshot: 4096 is what Linux holds by default. */
export const EXPECTATIONS_TOLD_MAX = 16_384;
/** Session events read with one system call, and the longest one. */
export const SESSION_EVENTS_PER_READ = 256;
export const SESSION_EVENT_BYTES_MAX = 2048;
/** Reads before the drain of events gives way to others. */
export const SESSION_READS_PER_DRAIN = 8;
/**
 * Unacknowledged changes on the active, in bytes, before what follows only marks its bucket: some 300,000 records, a second
 * of a standby's work or two. A change is worth sending while it is young; below a quarter of this they are sent again.
 */
export const LOG_BYTES_MAX = 8 << 20;
/** Parts that the table is cut into by the hash of the key: what is lost of one is read again. */
export const LOG_BUCKETS = 4096;
/** Keys remembered as changed, or as heard of, while a round is under way. */
export const CHANGED_KEYS_MAX = 1 << 22;
/**
 * Unacknowledged bytes of a round or a refresh above which no more of it is read: a change waits behind this much at most.
 * Counted apart from the changes, so that a round goes on beside a full log.
 */
export const SNAPSHOT_WINDOW_BYTES = 256 * 1024;
/** The part of a refresh round in which the table is read; the rest is slack for what comes between. */
export const REFRESH_SPREAD = 0.75;
/** Least time between two steps of a refresh that is late. */
export const REFRESH_STEP_MS = 5;
/** Sessions whose time ends later than this many refresh rounds from now are refreshed every second time. */
export const REFRESH_LONG_ROUNDS = 2;
/** Keys remembered as changed between two steps of a refresh; beyond it two steps of it are dropped. */
export const REFRESH_KEYS_MAX = 1 << 16;
/** Bytes of a merge that are on their way or wait for the active's kernel. */
export const MERGE_WINDOW_BYTES = 256 * 1024;
/** Records of a merge that an active takes without a look at the event loop: 1-2 ms at 8-15 us each. */
export const MERGE_SLICE_RECORDS = 128;
/** A merged session that ends by silence lives on for this long at most: the kernel's default for what it knows least. */
export const MERGED_SILENT_SECONDS_MAX = 600;
/** Keys of sessions that ended and of which the standby does not know for sure: two sets of 16 MiB where they are full. */
export const ENDED_KEYS_MAX = 1 << 20;
/**
 * A former active that subscribes within this time to a standby that was synchronised when it took over was
 * relieved in order, or died: nothing to merge but what was on its way. A handover takes some 50 ms.
 */
export const RELIEVED_MS_MAX = 500;
/** A round waits this long after the one before it, and after the loss that it is for: a storm makes no storm of dumps. */
export const ROUND_PACE_MS = 250;
/** After records that the kernel refused: when to ask for a snapshot again, doubled each time. */
export const REFUSED_RETRY_MS_MIN = 5000;
export const REFUSED_RETRY_MS_MAX = 60_000;
/** A subscription that was not answered is asked again. */
export const SUBSCRIBE_RETRY_MS = 3000;
/** A merge in which nothing is given and nothing acknowledged for so long is begun anew. */
export const GIVING_SILENT_MS = 10_000;
/** Slots, links and facts about a node that may be on their way; what changes meanwhile is said once there is room. */
export const STATE_UNACKNOWLEDGED_MAX = 8;
/** A file's name with its directories: PATH_MAX of <linux/limits.h> less its terminating zero. */
export const PATH_LENGTH_MAX = 4095;
/** A recording of the log: how large and how long at most, and unless asked otherwise. */
export const RECORDING_BYTES_MAX = 1 << 30;
export const RECORDING_MEGABYTES_DEFAULT = 64;
export const RECORDING_SECONDS_MAX = 86_400;
export const RECORDING_SECONDS_DEFAULT = 60;
/** What of a recording the disk has not taken yet: half a second of a full log. */
export const RECORDING_QUEUE_BYTES_MAX = 16 << 20;
/** A capture that is decoded is read as a whole. */
export const CAPTURE_BYTES_MAX = 1 << 30;
/** Slots that the standby's kernel refused are tried again this often. */
export const STATE_RETRY_MS = 1000;
/** The audit: the part of one processor that it takes on each node, over time; and how many times that while it looks. */
export const AUDIT_CPU_SHARE = 0.02;
export const AUDIT_BURST = 5;
/** From the begin of one pass to that of the next one, at least; and from synchronised to the first one. */
export const AUDIT_INTERVAL_MS = 20_000;
export const AUDIT_DELAY_MS = 1000;
/** After a look that came to nothing. */
export const AUDIT_RETRY_MS = 3000;
/** Between two steps through the table (one datagram, some 130 entries), at least. */
export const AUDIT_STEP_MS = 2;
/** After the table was read, before the events behind it are: what the kernel did last is in its socket by then. */
export const AUDIT_SETTLE_MS = 100;
/** No pass was brought to its end for so long, or three times what the last one took with its rest: that is told. */
export const AUDIT_LATE_MS = 300_000;
/** An answer of the standby's that is not there by then will not come. */
export const AUDIT_ANSWER_MS_MAX = 600_000;
/** Sessions of a table that is compared, at 16 bytes each. */
export const AUDIT_ENTRIES_MAX = 1 << 22;
/** Sessions that are digested, or asked for by key, in one step. */
export const AUDIT_CLOSE_ENTRIES = 8192;
export const AUDIT_ASK_ENTRIES = 4096;
/** Differences that are remembered from one look to the next; beyond that they are left to the pass after it. */
export const AUDIT_SUSPECTS_MAX = 1 << 20;
export const AUDIT_KEYS_PER_MESSAGE = 4096;
/** Of a bucket's digest, and of a key with the hash of what it stands for. */
export const AUDIT_DIGEST_BYTES = 8;
export const AUDIT_KEY_BYTES = 12;
/** Passes that are remembered. */
export const AUDIT_PASSES_KEPT = 32;
/** Records written into the kernel without a look at the event loop: 2-3 ms at 5-8 us each. */
export const APPLY_SLICE_RECORDS = 384;
/** Receive buffer of the log's connection: a standby that stalls for a moment must not look like a cut (zero window). */
export const LOG_RECEIVE_BYTES = 4 << 20;
/** Bytes of the log that the kernel may hold unsent. */
export const LOG_UNSENT_BYTES = 128 * 1024;
/** Events and neighbours are read for this long without a look at the event loop. */
export const DRAIN_TURN_MS = 4;
/** Under load, what comes within this time makes one batch. */
export const BATCH_FILL_MS = 2;
/** Messages received and not yet applied, in bytes; beyond it the connection is not read. */
export const RECEIVE_QUEUE_BYTES_MAX = 256 * 1024;
/** The log's connection: a ping this often. */
export const LOG_PING_MS = 120;
/** A cut path: the peer's *kernel* acknowledges nothing for this long (TCP_USER_TIMEOUT): another one within 1 s. */
export const LOG_UNACKNOWLEDGED_MS = 450;
/** The log's least retransmission timeout: at 1 % loss, a message a millisecond, p99 is some ms instead of 150 (replication §1). */
export const LOG_RTO_MIN_MS = 5;
/** A stuck peer: its kernel acknowledges, its daemon says nothing. A busy one must not look like this. */
export const LOG_SILENCE_MS = 3000;
/** From the first byte to a valid hello, and for TCP alone. */
export const HANDSHAKE_MS_MAX = 2000;
export const DIAL_MS_MAX = 300;
/** After every path was tried in vain; and before a preferred path is tried again beside another, doubled each time. */
export const DIAL_ROUND_PAUSE_MS = 200;
export const PREFERRED_PATH_RETRY_MS_MIN = 1000;
export const PREFERRED_PATH_RETRY_MS_MAX = 60_000;
/** Connections that have not proven themselves yet, in all and of one source. */
export const HALF_OPEN_MAX = 16;
export const HALF_OPEN_PER_SOURCE_MAX = 4;

export const EVENT_SOCKET_BYTES = 64 << 20;
/** One netlink datagram: the kernel fills dumps up to 32 KiB where the reader offers that much. */
export const NETLINK_RECEIVE_BYTES = 64 * 1024;
/** A whole configuration passes in one line, and JSON writes a quote or a line feed as two bytes. */
export const CONTROL_LINE_BYTES_MAX = 1 << 20;
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
/** Heart repeats its daemon's word on readiness for so long: two of the daemon's reports and a delay. */
export const READINESS_FRESH_MS = 500;
/**
 * Every proof of readiness that a node can repeat at any time (the log's position, the peer's sign of life, events read) is no
 * older than this, or nothing is proven.
 */
export const READINESS_PROOF_MS_MAX = 500;
/** The audit's last pass may be so old: a pass over a million sessions takes some minutes in its share of a processor. */
export const READINESS_AUDIT_MS_MAX = 900_000;
/** A drill: until the other node serves; how long it serves at least; until a node is a whole standby; until the role is back. */
export const DRILL_OVER_MS_MAX = 30_000;
export const DRILL_STAY_MS = 3000;
export const DRILL_SYNC_MS_MAX = 120_000;
export const DRILL_BACK_MS_MAX = 30_000;
/** Between two probes of the shared address while a drill is under way, and how long an answer is waited for. */
export const DRILL_PROBE_MS = 10;
export const DRILL_ANSWER_MS = 100;
/** Probes of one drill, at most: its longest time. */
export const DRILL_PROBES_MAX =
  (2 * DRILL_SYNC_MS_MAX + DRILL_OVER_MS_MAX + DRILL_BACK_MS_MAX) / DRILL_PROBE_MS;
/** A session table that is filled to this share is nearly full. */
export const TABLE_NEARLY_FULL = 0.9;
export const LEASE_MS_DEFAULT = 40;
export const SOLO_LEASE_MS_DEFAULT = 10_000;
export const HEARTBEAT_MS_MAX = 1_000;
/** Kernel timers count in jiffies, 10 ms at worst: a shorter lease would end in mid-renewal. */
export const LEASE_MS_MIN = 20;
export const DEAD_AFTER_MS_MAX = 10_000;
/** Solo begins after a second without the peer (failover §5); a minute is longer than any restart. */
export const SOLO_LEASE_MS_MIN = 1_000;
export const SOLO_LEASE_MS_MAX = 60_000;

/** Routing: tables and rule preferences that are ours, and nobody else's, while we run. */
export const ROUTE_TABLE_BASE = 114_800;
export const RULE_PREFERENCE_BASE = 1148;
/** `ip route ... proto N`: what we put there is known by it, and cleaned up by it. */
export const ROUTE_PROTOCOL = 148;
/** `ip link ... group N`: the macvlans that are ours, and nobody else's. */
export const INTERFACE_GROUP = 1148;

assert(LINK_ID_MAX <= MARK_LINK_MASK, "a link id fits its bits of the mark");
assert(SLOTS === 1 << 12, "slots are a power of two");
assert(LEASE_MS_DEFAULT < DEAD_AFTER_MS_DEFAULT, "the lease ends before silence counts as death");
assert(HEARTBEAT_MS_DEFAULT * 3 <= LEASE_MS_DEFAULT, "a lease survives two late renewals");
assert(
  SEGMENTS_MAX <= 18,
  "a segment is a bit of a word, and 14 more say how ready the node is (base/readiness.ts)",
);
assert(REPLAY_WINDOW_BITS >= (PATHS_MAX * 500) / HEARTBEAT_MS_MIN, "half a second fits the replay window");
assert(BATCH_BYTES_MAX < MESSAGE_BYTES_MAX && MESSAGE_BYTES_MAX < LOG_BYTES_MAX, "batch < message < log");
assert(LOG_PING_MS * 3 < LOG_UNACKNOWLEDGED_MS, "three pings are lost before a path is called cut");
assert(LOG_UNACKNOWLEDGED_MS < LOG_SILENCE_MS, "a cut is noticed before a stuck peer");
assert(REFRESH_SPREAD < 1, "a refresh round ends before the next begins");
assert(
  (200_000 / 100) * SET_BACK_PACE_MS_MAX <= 50_000,
  "200,000 entries are set back within a minute, with room",
);
assert(MERGE_WINDOW_BYTES >= 2 * BATCH_BYTES_MAX, "a merge keeps both ends busy");
assert(SNAPSHOT_WINDOW_BYTES >= 2 * BATCH_BYTES_MAX, "a snapshot keeps both ends busy");
assert(
  4 * CONFIGURATION_BYTES_MAX <= CONTROL_LINE_BYTES_MAX,
  "a configuration fits a line of the control socket",
);
assert(
  SESSIONS_SHOWN_MAX * SESSION_JSON_BYTES_MAX < CONTROL_LINE_BYTES_MAX,
  "a list of sessions fits a line",
);
