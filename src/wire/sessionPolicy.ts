// The sending policy (replication §4, docs/protocol.md §9.4): which entry of the kernel's table, in which state, is
// worth a record. Compiled once into small tables that the hot path looks up (events, dumps, ends) and from which
// kernel/eventFilter.ts makes the kernel's own filter, so that the two cannot disagree. Makes no object for a session.
// It may not know who asks, or what was sent before. Pure.

import { parseAddress } from "../base/addresses.ts";
import { MARK_LINK_MASK } from "../base/limits.ts";
import { SessionOperation } from "./session.ts";
import {
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPS_EXPECTED,
  type SessionFields,
} from "./sessionFields.ts";

/** From which state on the sessions of a protocol are sent. */
export interface SendingPolicy {
  /** Of the handshake: the first SYN, the answer to it, or the connection. */
  readonly tcp: "opening" | "syn-received" | "established";
  /** UDP and UDP-Lite: the first packet, the first answer, or two seconds of traffic both ways. */
  readonly udp: "first-packet" | "reply" | "assured";
  /** ICMP, GRE, ESP and whatever else; SCTP is sent from ESTABLISHED on. */
  readonly others: "first-packet" | "reply";
  /** Sessions that are not sent at all: those that any of these describes. */
  readonly except: readonly SendingException[];
}

/** All that is said must be true of a session; at least one thing is said. */
export interface SendingException {
  /** IP protocol number. */
  readonly protocol?: number;
  /** The port that the session was opened to, before translation: of TCP, UDP, UDP-Lite or SCTP. */
  readonly port?: number;
  /** The session's source or its destination is in it, both before translation. */
  readonly network?: { readonly family: 4 | 6; readonly address: string; readonly prefixLength: number };
}

export const DEFAULT_SENDING: SendingPolicy = {
  tcp: "established",
  udp: "reply",
  others: "reply",
  except: [],
};

/** Kinds of session that a policy tells apart. */
export const PolicyClass = { Tcp: 0, Udp: 1, Sctp: 2, Others: 3 } as const;
export type PolicyClass = (typeof PolicyClass)[keyof typeof PolicyClass];
const CLASSES = [PolicyClass.Tcp, PolicyClass.Udp, PolicyClass.Sctp, PolicyClass.Others] as const;

export function policyClass(protocol: number): PolicyClass {
  switch (protocol) {
    case IPPROTO_TCP:
      return PolicyClass.Tcp;
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
      return PolicyClass.Udp;
    case IPPROTO_SCTP:
      return PolicyClass.Sctp;
    default:
      return PolicyClass.Others;
  }
}

/** The protocol's own state (0: not told) and how far the conversation came, as an index into a table. */
export const POLICY_STATES = 16;
export const POLICY_ENTRIES = POLICY_STATES * 4;
/** IPS_SEEN_REPLY and IPS_ASSURED are bits 1 and 2 of a status. */
export const policyIndex = (protocolState: number, status: number): number =>
  ((protocolState & (POLICY_STATES - 1)) << 2) | ((status >> 1) & 3);
const REPLIED = 1;
const ASSURED = 2;

// TCP_CONNTRACK_* and SCTP_CONNTRACK_*, as the kernel numbers them.
const TCP_SYN_SENT = 1;
const TCP_SYN_RECV = 2;
const TCP_ESTABLISHED = 3;
const TCP_CLOSE = 8;
const TCP_SYN_SENT2 = 9;
const SCTP_CLOSED = 1;
const SCTP_ESTABLISHED = 4;
const SCTP_SHUTDOWN_ACK_SENT = 7;

type Operation = SessionOperation | 0;

/** The record that an entry in this state deserves. */
function wordFor(
  policy: SendingPolicy,
  of: PolicyClass,
  state: number,
  replied: boolean,
  assured: boolean,
): Operation {
  switch (of) {
    case PolicyClass.Tcp:
      return tcpWord(policy.tcp, state, replied, assured);
    case PolicyClass.Sctp:
      if (state === SCTP_ESTABLISHED) return SessionOperation.Create;
      if (state === 0) return assured ? SessionOperation.Update : 0;
      return state > SCTP_ESTABLISHED && state <= SCTP_SHUTDOWN_ACK_SENT ? SessionOperation.Update : 0;
    case PolicyClass.Udp:
      if (policy.udp === "assured") return assured ? SessionOperation.Create : 0;
      return plainWord(policy.udp, replied, assured);
    case PolicyClass.Others:
      return plainWord(policy.others, replied, assured);
  }
}

function plainWord(from: "first-packet" | "reply", replied: boolean, assured: boolean): Operation {
  if (from === "first-packet") return replied || assured ? SessionOperation.Update : SessionOperation.Create;
  if (!replied) return 0;
  return assured ? SessionOperation.Update : SessionOperation.Create;
}

function tcpWord(from: SendingPolicy["tcp"], state: number, replied: boolean, assured: boolean): Operation {
  if (state === TCP_ESTABLISHED) return SessionOperation.Create;
  // What comes after ESTABLISHED; CLOSE is also what a refused connection comes to.
  if (state > TCP_ESTABLISHED && state <= TCP_CLOSE)
    return replied || from === "opening" ? SessionOperation.Update : 0;
  if (state === 0) {
    // An event that does not tell the state: a mark, a helper, labels. Only from ESTABLISHED on is TCP assured.
    const begun = from === "established" ? assured : from === "syn-received" ? replied : true;
    return begun ? SessionOperation.Update : 0;
  }
  if (state === TCP_SYN_RECV) return from === "established" ? 0 : SessionOperation.Create;
  if (state === TCP_SYN_SENT || state === TCP_SYN_SENT2)
    return from === "opening" ? SessionOperation.Create : 0;
  return 0;
}

/**
 * Whether the end of an entry that was last in this state is worth a record: only if one may have been sent for it.
 * Kernels before 5.13 do not tell the last state (0); TCP never goes back to an earlier one within one entry.
 */
function endFor(
  policy: SendingPolicy,
  of: PolicyClass,
  state: number,
  replied: boolean,
  assured: boolean,
): boolean {
  if (of === PolicyClass.Tcp) {
    if (policy.tcp === "opening") return true;
    if (state === 0) return replied || assured;
    if (state === TCP_SYN_SENT || state === TCP_SYN_SENT2) return false;
    if (state === TCP_SYN_RECV) return policy.tcp === "syn-received" || assured;
    return true;
  }
  if (of === PolicyClass.Sctp) return replied || state !== SCTP_CLOSED;
  return wordFor(policy, of, state, replied, assured) !== 0;
}

/** A policy as tables: by class and `policyIndex`. */
export interface PolicyTables {
  /** The operation of a record, 0 for none. */
  readonly words: readonly Uint8Array[];
  /** 1 where the end is told. */
  readonly ends: readonly Uint8Array[];
}

export function policyTables(policy: SendingPolicy): PolicyTables {
  const table = (
    value: (of: PolicyClass, state: number, replied: boolean, assured: boolean) => number,
  ): Uint8Array[] =>
    CLASSES.map((of) =>
      Uint8Array.from({ length: POLICY_ENTRIES }, (_, index) =>
        value(of, index >> 2, (index & REPLIED) !== 0, (index & ASSURED) !== 0),
      ),
    );
  return {
    words: table((of, state, replied, assured) => wordFor(policy, of, state, replied, assured)),
    ends: table((of, state, replied, assured) => (endFor(policy, of, state, replied, assured) ? 1 : 0)),
  };
}

/** An exception ready to be compared: -1 and null stand for "whatever". */
interface Exception {
  readonly protocol: number;
  readonly port: number;
  readonly network: {
    readonly family: number;
    readonly bytes: Uint8Array;
    readonly prefixLength: number;
  } | null;
}

/** True for a session of the pair's: it has a link. The node's own have none. */
export const isPairs = (fields: SessionFields): boolean => (fields.mark & MARK_LINK_MASK) !== 0;

/** A policy in the hands of the hot path. */
export class SessionPolicy {
  readonly sending: SendingPolicy;
  readonly #words: readonly Uint8Array[];
  readonly #ends: readonly Uint8Array[];
  readonly #except: readonly Exception[];

  /** Throws where an exception's network is no address (a checked configuration has none such). */
  constructor(sending: SendingPolicy = DEFAULT_SENDING) {
    this.sending = sending;
    const { words, ends } = policyTables(sending);
    this.#words = words;
    this.#ends = ends;
    this.#except = sending.except.map(({ protocol = -1, port = -1, network }) => {
      const bytes = network === undefined ? undefined : parseAddress(network.address)?.bytes;
      if (network !== undefined && bytes === undefined)
        throw new Error(`no address: ${network.address} of a sending exception`);
      return {
        protocol,
        port,
        network: network === undefined || bytes === undefined ? null : { ...network, bytes },
      };
    });
  }

  /**
   * The record that an entry, or an event of it, deserves; 0 for none. A session that a helper expected is sent from
   * its first packet on: it may come from outside, where no placement makes it anew, and what expected it is used up.
   */
  recordFor(fields: SessionFields): SessionOperation | 0 {
    if ((fields.mark & MARK_LINK_MASK) === 0) return 0;
    const table = this.#words[policyClass(fields.protocol)]!;
    let word = table[policyIndex(fields.protocolState, fields.status)]! as SessionOperation | 0;
    if (word === 0 && (fields.status & IPS_EXPECTED) !== 0) word = SessionOperation.Create;
    return word !== 0 && this.#isExcepted(fields) ? 0 : word;
  }

  /** Whether sessions like this one are sent in any state at all: the pair's, and no exception. */
  carries(fields: SessionFields): boolean {
    return (fields.mark & MARK_LINK_MASK) !== 0 && !this.#isExcepted(fields);
  }

  /** Whether the end of this entry is worth a record: where `recordFor` may have given one for it. */
  wasSent(fields: SessionFields): boolean {
    if ((fields.mark & MARK_LINK_MASK) === 0) return false;
    const table = this.#ends[policyClass(fields.protocol)]!;
    const told =
      table[policyIndex(fields.protocolState, fields.status)] === 1 || (fields.status & IPS_EXPECTED) !== 0;
    return told && !this.#isExcepted(fields);
  }

  #isExcepted(fields: SessionFields): boolean {
    for (const { protocol, port, network } of this.#except) {
      if (protocol >= 0 && protocol !== fields.protocol) continue;
      if (port >= 0) {
        // Not the call keys of GRE, which lie in the same place.
        if (policyClass(fields.protocol) === PolicyClass.Others || port !== fields.originalB) continue;
      }
      if (network !== null) {
        if (network.family !== fields.family) continue;
        const { bytes, prefixLength } = network;
        if (
          !isInside(fields.bytes, fields.originalSource, bytes, prefixLength) &&
          !isInside(fields.bytes, fields.originalDestination, bytes, prefixLength)
        )
          continue;
      }
      return true;
    }
    return false;
  }
}

/** Whether the address at `at` has the first `bits` bits of `network`. */
function isInside(bytes: Uint8Array, at: number, network: Uint8Array, bits: number): boolean {
  const whole = bits >> 3;
  for (let index = 0; index < whole; index += 1) if (bytes[at + index] !== network[index]) return false;
  const rest = bits & 7;
  return rest === 0 || ((bytes[at + whole]! ^ network[whole]!) & (0xff00 >> rest) & 0xff) === 0;
}
