// ctnetlink, written: SessionFields -> requests to the kernel, many in one buffer, by hand because a million of
// them must be cheap. Each request carries a sequence number of the caller's, by which errors are matched. Pure.

import {
  MARK_GENERATION_MASK,
  MARK_GENERATION_SHIFT,
  MERGED_SILENT_SECONDS_MAX,
  REFRESH_ROUND_MS,
  SESSION_STANDBY_SECONDS_MIN,
  SESSION_TIMEOUT_SECONDS_MAX,
  STANDBY_ROUNDS,
} from "../base/limits.ts";
import {
  CTA_HELP,
  CTA_HELP_NAME,
  CTA_LABELS,
  CTA_MARK,
  CTA_NAT_DST,
  CTA_NAT_SRC,
  CTA_PROTOINFO,
  CTA_PROTOINFO_SCTP,
  CTA_PROTOINFO_SCTP_STATE,
  CTA_PROTOINFO_SCTP_VTAG_ORIGINAL,
  CTA_PROTOINFO_SCTP_VTAG_REPLY,
  CTA_PROTOINFO_TCP,
  CTA_PROTOINFO_TCP_FLAGS_ORIGINAL,
  CTA_PROTOINFO_TCP_FLAGS_REPLY,
  CTA_PROTOINFO_TCP_STATE,
  CTA_SEQ_ADJ_ORIG,
  CTA_SEQ_ADJ_REPLY,
  CTA_SEQADJ_CORRECTION_POS,
  CTA_STATUS,
  CTA_TIMEOUT,
  CTA_TUPLE_MASTER,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_REPLY,
  CTA_TUPLE_ZONE,
  CTA_ZONE,
  IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_NEW,
  NFNL_SUBSYS_CTNETLINK,
  TCP_CONNTRACK_ESTABLISHED,
} from "./conntrack.ts";
import { ConntrackBuffer } from "./conntrackBuffer.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import {
  derivedReplyB,
  IPPROTO_GRE,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPS_ASSURED,
  IPS_FIXED_TIMEOUT,
  IPS_SEEN_REPLY,
  isDestinationTranslated,
  isSourceTranslated,
  ProtocolKind,
  protocolKind,
  type SessionFields,
} from "./sessionFields.ts";

/** Only what the table holds is confirmed, and the kernel refuses a status that says otherwise. */
const IPS_CONFIRMED = 0x008;
const STATUS_CARRIED = IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT;
// CTA_NAT_*: V4_MINIP 1, V4_MAXIP 2, PROTO 3 { PORT_MIN 1, PORT_MAX 2 }, V6_MINIP 4, V6_MAXIP 5.
const CTA_NAT_V4_MINIP = 1;
const CTA_NAT_V4_MAXIP = 2;
const CTA_NAT_PROTO = 3;
const CTA_NAT_V6_MINIP = 4;
const CTA_NAT_V6_MAXIP = 5;
const CTA_PROTONAT_PORT_MIN = 1;
const CTA_PROTONAT_PORT_MAX = 2;
/**
 * IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL, value and mask: the windows of a session that flowed
 * through the other node are unknown here, so none is enforced.
 */
const TCP_FLAGS_LIBERAL = 0x0a;
const LABELS_BYTES = 16;
/** No request is longer: IPv6, both translations, every optional part come to about 640. */
export const CONNTRACK_REQUEST_BYTES_MAX = 1024;

/** What a standby gives an entry above the time that is left to it on the active, in seconds, by who the active is. */
const BESIDE_ROUNDS_SECONDS = (REFRESH_ROUND_MS * STANDBY_ROUNDS) / 1000;

/**
 * An entry of GRE gets its times with its first packet (nf_conntrack_proto_gre.c); one made over netlink has had none, and the
 * next packet would give it a time of 0: it ends, and what the far side says after that is dropped. Its time is fixed
 * instead, to a quarter of a day; then the next packet from the LAN makes another entry, which is the same.
 */
const hasNoTimes = (fields: SessionFields): boolean => fields.protocol === IPPROTO_GRE;

/** What `create` leaves out because another kernel may lack it: bits, added up. */
export const Leave = { Master: 1, Helper: 2, All: 3 } as const;

/** Which tuple of a session a request names it by. */
export type TupleSide = "original" | "reply";

export class ConntrackRequests extends ConntrackBuffer {
  /** The active says each session's time again, round after round (protocol version 2): what is written need not outlive more. */
  refreshed = false;

  /** Room for `count` requests. */
  constructor(count: number) {
    super(count * CONNTRACK_REQUEST_BYTES_MAX);
  }

  /**
   * A new entry; EEXIST where either tuple is taken. Translation is asked for as a range of one address and one
   * port, over the *untranslated* reply tuple: the kernel then makes exactly the reply tuple of `fields`.
   * `leave` leaves out what another kernel may lack (Leave). `own` makes it an entry of
   * this node's own, for the time that is left to it; a standby's outlives what the active refreshes in silence.
   */
  create(fields: SessionFields, sequence: number, generation: number, leave = 0, own = false): void {
    this.#begin(IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, fields, sequence);
    this.#originalTuple(fields);
    const nest = this.nest(CTA_TUPLE_REPLY);
    const icmp = protocolKind(fields.family, fields.protocol) === ProtocolKind.Icmp;
    this.tuple(
      fields.family,
      fields.bytes,
      fields.protocol,
      fields.originalDestination,
      fields.originalSource,
      icmp ? fields.originalA : fields.originalB,
      derivedReplyB(fields, protocolKind(fields.family, fields.protocol)),
    );
    this.#tupleZone(fields, 2);
    this.end(nest);
    if (isSourceTranslated(fields))
      this.#translation(CTA_NAT_SRC, fields, fields.replyDestination, icmp ? fields.replyA : fields.replyB);
    if (isDestinationTranslated(fields))
      this.#translation(CTA_NAT_DST, fields, fields.replySource, icmp ? fields.originalA : fields.replyA);
    const fixed = hasNoTimes(fields) ? IPS_FIXED_TIMEOUT : 0;
    this.be32(CTA_STATUS, (fields.status & STATUS_CARRIED) | fixed | IPS_CONFIRMED);
    if (own) this.#ownTimeout(fields);
    else this.#timeout(fields);
    this.#mark(fields, generation);
    this.#protocolState(fields, true);
    this.#optional(fields, leave);
    this.finish();
  }

  /**
   * Changes mark, time and state of an entry, sequence adjustment and labels where the record has some; ENOENT where
   * there is none, EOPNOTSUPP or EBUSY where it has not the record's helper. Translation and master cannot be changed:
   * `expected` is the entry's IPS_EXPECTED, without which the kernel refuses the status (EBUSY).
   */
  update(fields: SessionFields, sequence: number, generation: number, expected = 0): void {
    this.#begin(IPCTNL_MSG_CT_NEW, 0, fields, sequence);
    this.#originalTuple(fields);
    this.be32(CTA_STATUS, (fields.status & STATUS_CARRIED) | IPS_CONFIRMED | expected);
    // EPERM where the time is fixed.
    if ((fields.status & IPS_FIXED_TIMEOUT) === 0 && !hasNoTimes(fields)) this.#timeout(fields);
    this.#mark(fields, generation);
    this.#protocolState(fields, false);
    this.#helper(fields);
    this.#adjustments(fields);
    this.finish();
  }

  /** Changes nothing of an entry but the time that is left to it; ENOENT where there is none, EPERM where it is fixed. */
  retime(fields: SessionFields, sequence: number, seconds: number): void {
    this.#begin(IPCTNL_MSG_CT_NEW, 0, fields, sequence);
    this.#originalTuple(fields);
    this.be32(CTA_TIMEOUT, seconds);
    this.finish();
  }

  /** Ends the entry that has this tuple; ENOENT where there is none. */
  delete(fields: SessionFields, sequence: number, side: TupleSide): void {
    this.#begin(IPCTNL_MSG_CT_DELETE, 0, fields, sequence);
    if (side === "original") this.#originalTuple(fields);
    else this.#replyTuple(fields);
    this.finish();
  }

  /** Asks for the entry with this original tuple: one message in answer, or ENOENT. */
  get(fields: SessionFields, sequence: number): void {
    this.#begin(IPCTNL_MSG_CT_GET, 0, fields, sequence);
    this.#originalTuple(fields);
    this.finish();
  }

  #begin(type: number, flags: number, fields: SessionFields, sequence: number): void {
    this.begin((NFNL_SUBSYS_CTNETLINK << 8) | type, flags, fields.family, sequence);
    if (fields.zoneDirections === 3) this.be16(CTA_ZONE, fields.zone);
  }

  #originalTuple(fields: SessionFields): void {
    const nest = this.nest(CTA_TUPLE_ORIG);
    this.tuple(
      fields.family,
      fields.bytes,
      fields.protocol,
      fields.originalSource,
      fields.originalDestination,
      fields.originalA,
      fields.originalB,
    );
    this.#tupleZone(fields, 1);
    this.end(nest);
  }

  #replyTuple(fields: SessionFields): void {
    const nest = this.nest(CTA_TUPLE_REPLY);
    this.tuple(
      fields.family,
      fields.bytes,
      fields.protocol,
      fields.replySource,
      fields.replyDestination,
      fields.replyA,
      fields.replyB,
    );
    this.#tupleZone(fields, 2);
    this.end(nest);
  }

  /** A zone of one direction only is part of that direction's tuple. */
  #tupleZone(fields: SessionFields, direction: number): void {
    if (fields.zoneDirections === direction) this.be16(CTA_TUPLE_ZONE, fields.zone);
  }

  #translation(type: number, fields: SessionFields, addressAt: number, port: number): void {
    const four = fields.family === 4;
    const nest = this.nest(type);
    const size = fields.addressBytes;
    this.copy(four ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, fields.bytes, addressAt, size);
    this.copy(four ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, fields.bytes, addressAt, size);
    if (protocolKind(fields.family, fields.protocol) !== ProtocolKind.Portless) {
      const range = this.nest(CTA_NAT_PROTO);
      this.be16(CTA_PROTONAT_PORT_MIN, port);
      this.be16(CTA_PROTONAT_PORT_MAX, port);
      this.end(range);
    }
    this.end(nest);
  }

  /** An idle standby sees no packets: its entry must outlive what the active only refreshes in silence. */
  #timeout(fields: SessionFields): void {
    const { timeoutSeconds, status } = fields;
    if (hasNoTimes(fields)) {
      this.be32(CTA_TIMEOUT, Math.max(timeoutSeconds, SESSION_STANDBY_SECONDS_MIN));
      return;
    }
    // A fixed time is refreshed nowhere, and cannot be set back later.
    if ((status & IPS_FIXED_TIMEOUT) !== 0) this.be32(CTA_TIMEOUT, Math.max(timeoutSeconds, 1));
    else if (!this.refreshed) this.be32(CTA_TIMEOUT, Math.max(timeoutSeconds, SESSION_STANDBY_SECONDS_MIN));
    else
      this.be32(CTA_TIMEOUT, Math.min(timeoutSeconds + BESIDE_ROUNDS_SECONDS, SESSION_TIMEOUT_SECONDS_MAX));
  }

  /** What ends by silence may carry a standby's long time, and have ended: if it lives, its next packet says so. */
  #ownTimeout(fields: SessionFields): void {
    const worded = fields.protocol === IPPROTO_TCP || fields.protocol === IPPROTO_SCTP;
    const seconds = worded
      ? fields.timeoutSeconds
      : Math.min(fields.timeoutSeconds, MERGED_SILENT_SECONDS_MAX);
    this.be32(CTA_TIMEOUT, Math.max(seconds, 1));
  }

  #mark(fields: SessionFields, generation: number): void {
    this.be32(
      CTA_MARK,
      ((fields.mark & ~MARK_GENERATION_MASK) | (generation << MARK_GENERATION_SHIFT)) >>> 0,
    );
  }

  #protocolState(fields: SessionFields, create: boolean): void {
    if (fields.protocol === IPPROTO_TCP) {
      // "Not told": what exists keeps its state; what is made is at least established, else it was not sent.
      if (fields.protocolState === 0 && !create) return;
      const state = fields.protocolState === 0 ? TCP_CONNTRACK_ESTABLISHED : fields.protocolState;
      const outer = this.nest(CTA_PROTOINFO);
      const inner = this.nest(CTA_PROTOINFO_TCP);
      this.u8(CTA_PROTOINFO_TCP_STATE, state);
      // struct nf_ct_tcp_flags { u8 flags; u8 mask; }: two equal bytes, alike in either byte order.
      this.be16(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, (TCP_FLAGS_LIBERAL << 8) | TCP_FLAGS_LIBERAL);
      this.be16(CTA_PROTOINFO_TCP_FLAGS_REPLY, (TCP_FLAGS_LIBERAL << 8) | TCP_FLAGS_LIBERAL);
      this.end(inner);
      this.end(outer);
    } else if (fields.protocol === IPPROTO_SCTP && fields.protocolState !== 0) {
      const outer = this.nest(CTA_PROTOINFO);
      const inner = this.nest(CTA_PROTOINFO_SCTP);
      this.u8(CTA_PROTOINFO_SCTP_STATE, fields.protocolState);
      this.be32(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, fields.tagOriginal);
      this.be32(CTA_PROTOINFO_SCTP_VTAG_REPLY, fields.tagReply);
      this.end(inner);
      this.end(outer);
    }
  }

  #optional(fields: SessionFields, leave: number): void {
    if ((leave & Leave.Helper) === 0) this.#helper(fields);
    if (fields.hasMaster && (leave & Leave.Master) === 0) {
      const nest = this.nest(CTA_TUPLE_MASTER);
      const { masterProtocol, masterSource, masterDestination, masterA, masterB } = fields;
      const { family, bytes } = fields;
      this.tuple(family, bytes, masterProtocol, masterSource, masterDestination, masterA, masterB);
      this.end(nest);
    }
    this.#adjustments(fields);
  }

  #helper(fields: SessionFields): void {
    if (fields.helperLength === 0) return;
    const nest = this.nest(CTA_HELP);
    this.name(CTA_HELP_NAME, fields.bytes, fields.helperAt, fields.helperLength);
    this.end(nest);
  }

  /** Sequence adjustment and labels: kept by the kernel where it can, and never a reason to refuse. */
  #adjustments(fields: SessionFields): void {
    if (fields.hasAdjustOriginal) this.#adjustment(CTA_SEQ_ADJ_ORIG, fields.adjust, 0);
    if (fields.hasAdjustReply) this.#adjustment(CTA_SEQ_ADJ_REPLY, fields.adjust, 3);
    if (fields.labelsAt >= 0) this.copy(CTA_LABELS, fields.bytes, fields.labelsAt, LABELS_BYTES);
  }

  #adjustment(type: number, values: Uint32Array, from: number): void {
    const nest = this.nest(type);
    for (let index = 0; index < 3; index += 1)
      this.be32(CTA_SEQADJ_CORRECTION_POS + index, values[from + index]!);
    this.end(nest);
  }
}
