// The sending policy as a classic packet filter on the event socket (replication §4): what is not worth a record is
// dropped by the kernel before it takes up receive buffer, wakes anybody or is copied. The states come from the very
// tables that user space looks up (wire/sessionPolicy.ts), the exceptions are compiled one by one. What passes is
// judged again by user space, which decides; what other subsystems say passes. It makes a program and touches no socket.
// Source: net/core/filter.c (SKF_AD_NLATTR, SKF_AD_NLATTR_NEST), Documentation/networking/filter.rst (6.18).

import { parseAddress } from "../base/addresses.ts";
import { assert } from "../base/assert.ts";
import { MARK_LINK_MASK } from "../base/limits.ts";
import {
  CTA_IP_V4_DST,
  CTA_IP_V4_SRC,
  CTA_IP_V6_DST,
  CTA_IP_V6_SRC,
  CTA_MARK,
  CTA_PROTO_DST_PORT,
  CTA_PROTO_NUM,
  CTA_PROTOINFO,
  CTA_PROTOINFO_SCTP,
  CTA_PROTOINFO_SCTP_STATE,
  CTA_PROTOINFO_TCP,
  CTA_PROTOINFO_TCP_STATE,
  CTA_STATUS,
  CTA_TUPLE_IP,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_PROTO,
  IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_NEW,
  NFGENMSG_BYTES,
  NFNL_SUBSYS_CTNETLINK,
} from "../wire/conntrack.ts";
import { HOST_LITTLE_ENDIAN, NLMSG_HDRLEN } from "../wire/netlink.ts";
import {
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPS_ASSURED,
  IPS_EXPECTED,
  IPS_SEEN_REPLY,
} from "../wire/sessionFields.ts";
import {
  PolicyClass,
  policyTables,
  type SendingException,
  type SendingPolicy,
} from "../wire/sessionPolicy.ts";
import { AF_INET, AF_INET6, type FilterInstruction } from "./libc.ts";

// linux/bpf_common.h, linux/filter.h: an instruction's code is the sum of its parts.
const LOAD_IMMEDIATE = 0x00;
const LOAD_X_IMMEDIATE = 0x01;
const STORE = 0x02;
const AND = 0x54;
const OR_X = 0x4c;
const RIGHT_BY = 0x74;
const RIGHT_BY_X = 0x7c;
const LEFT_BY = 0x64;
const LOAD_WORD = 0x20;
const LOAD_BYTE = 0x30;
const LOAD_WORD_AT_X = 0x40;
const LOAD_HALF_AT_X = 0x48;
const LOAD_BYTE_AT_X = 0x50;
const LOAD_MEMORY = 0x60;
const A_TO_X = 0x07;
const JUMP = 0x05;
const IF_EQUAL = 0x15;
const IF_AT_LEAST = 0x35;
const RETURN = 0x06;
/** Loads from here are calls: the attribute of type X at or behind offset A, or in the one at A; 0 for none. */
const SKF_AD_NLATTR = 0xfffff000 + 12;
const SKF_AD_NLATTR_NEST = 0xfffff000 + 16;
const WHOLE_MESSAGE = 0xffffffff;

const NLMSG_TYPE_AT = 4;
const NLMSG_PID_AT = 12;
const ATTRIBUTES_AT = NLMSG_HDRLEN + NFGENMSG_BYTES;
const NLA_HEADER = 4;
/** `nlmsg_type` is in host order: its low byte is the message, its high byte the subsystem. */
const MESSAGE_AT = HOST_LITTLE_ENDIAN ? NLMSG_TYPE_AT : NLMSG_TYPE_AT + 1;
const SUBSYSTEM_AT = HOST_LITTLE_ENDIAN ? NLMSG_TYPE_AT + 1 : NLMSG_TYPE_AT;

/** Protocols with ports. */
const PORTED = [IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP];
/** Cells of the filter's memory (of 16). */
const Cell = { Tuple: 0, Protocol: 1, Low: 2, High: 3, State: 4, Status: 5 } as const;
/** A conditional jump reaches this far, and a program may be so long (BPF_MAXINSNS). */
const JUMP_MAX = 255;
const INSTRUCTIONS_MAX = 4096;

/** A program in the making: labels instead of distances. */
class Program {
  readonly #code: { code: number; operand: number; yes?: string; no?: string }[] = [];
  readonly #labels = new Map<string, number>();
  #names = 0;

  add(code: number, operand = 0): this {
    this.#code.push({ code, operand });
    return this;
  }

  /** A name that nobody else has. */
  fresh(): string {
    this.#names += 1;
    return `label ${this.#names}`;
  }

  label(name: string): this {
    assert(!this.#labels.has(name), "a label is set once");
    this.#labels.set(name, this.#code.length);
    return this;
  }

  /** Goes to `yes` where A compares, else to `no`; without a name, on to what follows. */
  branch(code: number, operand: number, where: { readonly yes?: string; readonly no?: string }): this {
    this.#code.push({ code, operand, ...where });
    return this;
  }

  jump(to: string): this {
    this.#code.push({ code: JUMP, operand: 0, yes: to });
    return this;
  }

  /** A <- offset of the attribute `type`: in the message, or in the attribute at offset A. 0 where there is none. */
  find(type: number, within: "message" | "here"): this {
    if (within === "message") this.add(LOAD_IMMEDIATE, ATTRIBUTES_AT);
    return this.add(LOAD_X_IMMEDIATE, type).add(
      LOAD_WORD,
      within === "message" ? SKF_AD_NLATTR : SKF_AD_NLATTR_NEST,
    );
  }

  keep(): this {
    return this.add(RETURN, WHOLE_MESSAGE);
  }

  drop(): this {
    return this.add(RETURN, 0);
  }

  assemble(): readonly FilterInstruction[] {
    assert(this.#code.length <= INSTRUCTIONS_MAX, "a filter fits the kernel's bound");
    const distance = (from: number, to: string | undefined): number => {
      if (to === undefined) return 0;
      const at = this.#labels.get(to);
      if (at === undefined) throw new Error(`no such label: ${to}`);
      return at - from - 1;
    };
    return this.#code.map(({ code, operand, yes, no }, index): FilterInstruction => {
      if (code === JUMP) return [code, 0, 0, distance(index, yes)];
      const [far, near] = [distance(index, yes), distance(index, no)];
      assert(far >= 0 && near >= 0 && far <= JUMP_MAX && near <= JUMP_MAX, "a conditional jump reaches");
      return [code, far, near, operand >>> 0];
    });
  }
}

/**
 * The filter of the event socket: what it returns 0 for is never queued. Dropped are messages of connection tracking
 * that the sockets with `ignoredPorts` caused, and those that `sending` makes no record of.
 */
export function eventFilter(
  sending: SendingPolicy,
  ignoredPorts: readonly number[],
): readonly FilterInstruction[] {
  const program = new Program();
  ignorePorts(program, ignoredPorts);
  // Other subsystems (expectations) are not this filter's business.
  program.add(LOAD_BYTE, SUBSYSTEM_AT).branch(IF_EQUAL, NFNL_SUBSYS_CTNETLINK, { yes: "sessions" }).keep();
  program.label("sessions");
  onlyThePairs(program);
  byState(program, sending);
  for (const exception of sending.except) except(program, exception);
  return program.keep().assemble();
}

/** Only the messages of other sockets' doing: the filter where no policy is to be applied. */
export function portFilter(ignoredPorts: readonly number[]): readonly FilterInstruction[] {
  const program = new Program();
  ignorePorts(program, ignoredPorts);
  return program.keep().assemble();
}

function ignorePorts(program: Program, portIds: readonly number[]): void {
  // Filters load in network order; nlmsg_pid is in host order.
  const swapped = (value: number): number => {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value, HOST_LITTLE_ENDIAN);
    return view.getUint32(0);
  };
  if (portIds.length === 0) return;
  program.add(LOAD_WORD, NLMSG_PID_AT);
  for (const portId of portIds) {
    const other = program.fresh();
    program.branch(IF_EQUAL, swapped(portId), { no: other }).drop().label(other);
  }
}

/** The node's own sessions have no link: most of the events of a busy node that is its own server. */
function onlyThePairs(program: Program): void {
  const [marked, linked] = [program.fresh(), program.fresh()];
  program.find(CTA_MARK, "message").branch(IF_EQUAL, 0, { no: marked }).drop().label(marked);
  program
    .add(A_TO_X)
    .add(LOAD_WORD_AT_X, NLA_HEADER)
    .add(AND, MARK_LINK_MASK)
    .branch(IF_EQUAL, 0, { no: linked })
    .drop()
    .label(linked);
}

/** The policy's tables as two words of 32 bits for each class; the bit of the event's state is looked up. */
function byState(program: Program, sending: SendingPolicy): void {
  const { words, ends } = policyTables(sending);
  program.find(CTA_TUPLE_ORIG, "message").add(STORE, Cell.Tuple);
  program.find(CTA_TUPLE_PROTO, "here").find(CTA_PROTO_NUM, "here");
  program.add(A_TO_X).add(LOAD_BYTE_AT_X, NLA_HEADER).add(STORE, Cell.Protocol);
  unlessExpected(program);
  const classes: readonly (readonly [number, PolicyClass])[] = [
    [IPPROTO_TCP, PolicyClass.Tcp],
    [IPPROTO_UDP, PolicyClass.Udp],
    [IPPROTO_UDPLITE, PolicyClass.Udp],
    [IPPROTO_SCTP, PolicyClass.Sctp],
  ];
  for (const [protocol, kind] of classes) program.branch(IF_EQUAL, protocol, { yes: `class ${kind}` });
  for (const kind of [PolicyClass.Others, PolicyClass.Tcp, PolicyClass.Udp, PolicyClass.Sctp]) {
    program.label(`class ${kind}`);
    const [begun, ended] = [program.fresh(), program.fresh()];
    program
      .add(LOAD_BYTE, MESSAGE_AT)
      .branch(IF_EQUAL, IPCTNL_MSG_CT_NEW, { yes: begun })
      .branch(IF_EQUAL, IPCTNL_MSG_CT_DELETE, { yes: ended })
      .drop();
    bits(program.label(begun), words[kind]!);
    bits(program.label(ended), ends[kind]!);
  }
  program.label("state");
  protocolState(program);
  lookUp(program);
}

/** What a helper expected is told in every state. Leaves the protocol in A. */
function unlessExpected(program: Program): void {
  const stateless = program.fresh();
  program.find(CTA_STATUS, "message").branch(IF_EQUAL, 0, { yes: stateless });
  program.add(A_TO_X).add(LOAD_WORD_AT_X, NLA_HEADER).add(AND, IPS_EXPECTED);
  program.branch(IF_EQUAL, 0, { no: "wanted" });
  program.label(stateless).add(LOAD_MEMORY, Cell.Protocol);
}

/** Loads a table's two words and goes on to the state. */
function bits(program: Program, table: Uint8Array): void {
  for (const [half, cell] of [Cell.Low, Cell.High].entries()) {
    let word = 0;
    for (let bit = 0; bit < 32; bit += 1) if (table[half * 32 + bit] !== 0) word += 2 ** bit;
    program.add(LOAD_IMMEDIATE, word).add(STORE, cell);
  }
  program.jump("state");
}

/** The state of TCP or SCTP, 0 where the event does not tell it or the protocol has none. */
function protocolState(program: Program): void {
  program.add(LOAD_IMMEDIATE, 0).add(STORE, Cell.State);
  program.find(CTA_PROTOINFO, "message").branch(IF_EQUAL, 0, { yes: "status" });
  // Its one attribute says whose state it is; both number the state alike.
  assert(CTA_PROTOINFO_TCP_STATE === CTA_PROTOINFO_SCTP_STATE, "one number for both states");
  program.add(STORE, Cell.Status);
  program.find(CTA_PROTOINFO_TCP, "here").branch(IF_EQUAL, 0, { no: "told" });
  program.add(LOAD_MEMORY, Cell.Status);
  program.find(CTA_PROTOINFO_SCTP, "here").branch(IF_EQUAL, 0, { yes: "status" });
  program.label("told").find(CTA_PROTOINFO_TCP_STATE, "here").branch(IF_EQUAL, 0, { yes: "status" });
  program.add(A_TO_X).add(LOAD_BYTE_AT_X, NLA_HEADER).add(AND, 0x0f).add(STORE, Cell.State);
}

/** Index: state * 4, SEEN_REPLY as bit 0, ASSURED as bit 1 (wire/sessionPolicy.ts: policyIndex). */
function lookUp(program: Program): void {
  const [told, high, look] = [program.fresh(), program.fresh(), program.fresh()];
  assert(IPS_SEEN_REPLY === 2 && IPS_ASSURED === 4, "the status' two bits are neighbours");
  program.label("status").find(CTA_STATUS, "message").branch(IF_EQUAL, 0, { yes: told });
  program.add(A_TO_X).add(LOAD_WORD_AT_X, NLA_HEADER).add(RIGHT_BY, 1).add(AND, 3);
  program.label(told).add(A_TO_X);
  program.add(LOAD_MEMORY, Cell.State).add(LEFT_BY, 2).add(OR_X);
  program.branch(IF_AT_LEAST, 32, { yes: high });
  program.add(A_TO_X).add(LOAD_MEMORY, Cell.Low).jump(look);
  program.label(high).add(AND, 31).add(A_TO_X).add(LOAD_MEMORY, Cell.High);
  program.label(look).add(RIGHT_BY_X).add(AND, 1).branch(IF_EQUAL, 0, { no: "wanted" }).drop();
  program.label("wanted");
}

/** Drops what the exception describes; whatever does not match goes on behind it. */
function except(program: Program, { protocol, port, network }: SendingException): void {
  const next = program.fresh();
  if (protocol !== undefined)
    program.add(LOAD_MEMORY, Cell.Protocol).branch(IF_EQUAL, protocol, { no: next });
  if (port !== undefined) {
    // Not the call keys of GRE, which lie in the same place.
    const ported = program.fresh();
    program.add(LOAD_MEMORY, Cell.Protocol);
    for (const each of PORTED) program.branch(IF_EQUAL, each, { yes: ported });
    program.jump(next).label(ported);
    program.add(LOAD_MEMORY, Cell.Tuple).find(CTA_TUPLE_PROTO, "here").find(CTA_PROTO_DST_PORT, "here");
    program.branch(IF_EQUAL, 0, { yes: next });
    program.add(A_TO_X).add(LOAD_HALF_AT_X, NLA_HEADER).branch(IF_EQUAL, port, { no: next });
  }
  if (network !== undefined) {
    const four = network.family === 4;
    const matched = program.fresh();
    program.add(LOAD_BYTE, NLMSG_HDRLEN).branch(IF_EQUAL, four ? AF_INET : AF_INET6, { no: next });
    const bytes = parseAddress(network.address)!.bytes;
    for (const [type, end] of [
      [four ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, program.fresh()],
      [four ? CTA_IP_V4_DST : CTA_IP_V6_DST, next],
    ] as const) {
      program.add(LOAD_MEMORY, Cell.Tuple).find(CTA_TUPLE_IP, "here").find(type, "here");
      program.branch(IF_EQUAL, 0, { yes: end }).add(A_TO_X);
      inside(program, bytes, network.prefixLength, end);
      if (end !== next) program.jump(matched).label(end);
    }
    program.label(matched);
  }
  program.drop().label(next);
}

/** Goes to `outside` where the address of the attribute at X has not the first `bits` bits of `network`. */
function inside(program: Program, network: Uint8Array, bits: number, outside: string): void {
  const view = new DataView(network.buffer, network.byteOffset, network.length);
  for (let at = 0; at * 8 < bits; at += 4) {
    const rest = Math.min(32, bits - at * 8);
    // Not by shifting: `1 << 32` is 1.
    const mask = 2 ** 32 - 2 ** (32 - rest);
    program.add(LOAD_WORD_AT_X, NLA_HEADER + at);
    if (rest < 32) program.add(AND, mask);
    // `&` is signed in JavaScript.
    program.branch(IF_EQUAL, (view.getUint32(at) & mask) >>> 0, { no: outside });
  }
}
