// What all requests of ctnetlink are written with, about sessions and about expectations: headers, attributes, tuples,
// many requests in one buffer, by hand because a million of them must be cheap. It knows no meaning. Pure.

import {
  CTA_IP_V4_DST,
  CTA_IP_V4_SRC,
  CTA_IP_V6_DST,
  CTA_IP_V6_SRC,
  CTA_PROTO_DST_PORT,
  CTA_PROTO_ICMP_CODE,
  CTA_PROTO_ICMP_ID,
  CTA_PROTO_ICMP_TYPE,
  CTA_PROTO_ICMPV6_CODE,
  CTA_PROTO_ICMPV6_ID,
  CTA_PROTO_ICMPV6_TYPE,
  CTA_PROTO_NUM,
  CTA_PROTO_SRC_PORT,
  CTA_TUPLE_IP,
  CTA_TUPLE_PROTO,
} from "./conntrack.ts";
import { HOST_LITTLE_ENDIAN, NLA_F_NESTED, NLM_F_REQUEST, NLMSG_HDRLEN } from "./netlink.ts";
import { ProtocolKind, protocolKind } from "./sessionFields.ts";

const AF_INET = 2;
const AF_INET6 = 10;

/** Requests one behind the other; `begin`, attributes, `finish` for each. Reused after `reset`. */
export class ConntrackBuffer {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  length = 0;
  #start = 0;

  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  reset(): void {
    this.length = 0;
  }

  /** `nlmsghdr` and `nfgenmsg` of a request; `type` with its subsystem in the upper byte. `family`: 4 or 6. */
  begin(type: number, flags: number, family: number, sequence: number): void {
    const at = this.length;
    const view = this.#view;
    this.#start = at;
    view.setUint16(at + 4, type, HOST_LITTLE_ENDIAN);
    view.setUint16(at + 6, flags | NLM_F_REQUEST, HOST_LITTLE_ENDIAN);
    view.setUint32(at + 8, sequence, HOST_LITTLE_ENDIAN);
    view.setUint32(at + 12, 0, HOST_LITTLE_ENDIAN);
    this.bytes[at + NLMSG_HDRLEN] = family === 4 ? AF_INET : AF_INET6;
    this.bytes[at + NLMSG_HDRLEN + 1] = 0;
    view.setUint16(at + NLMSG_HDRLEN + 2, 0);
    this.length = at + NLMSG_HDRLEN + 4;
  }

  /** The request's length is known now. */
  finish(): void {
    this.#view.setUint32(this.#start, this.length - this.#start, HOST_LITTLE_ENDIAN);
  }

  /**
   * Addresses and numbers of one direction, the content of a CTA_TUPLE_*. Addresses lie in `from`; what `a` and `b` mean
   * is the protocol's business (ProtocolKind).
   */
  tuple(
    family: number,
    from: Uint8Array,
    protocol: number,
    source: number,
    destination: number,
    a: number,
    b: number,
  ): void {
    const four = family === 4;
    const size = four ? 4 : 16;
    const addresses = this.nest(CTA_TUPLE_IP);
    this.copy(four ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, from, source, size);
    this.copy(four ? CTA_IP_V4_DST : CTA_IP_V6_DST, from, destination, size);
    this.end(addresses);
    const numbers = this.nest(CTA_TUPLE_PROTO);
    this.u8(CTA_PROTO_NUM, protocol);
    switch (protocolKind(family, protocol)) {
      case ProtocolKind.Ports:
        this.be16(CTA_PROTO_SRC_PORT, a);
        this.be16(CTA_PROTO_DST_PORT, b);
        break;
      case ProtocolKind.Icmp:
        this.be16(four ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID, a);
        this.u8(four ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE, b >> 8);
        this.u8(four ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE, b & 0xff);
        break;
      case ProtocolKind.Portless:
        break;
    }
    this.end(numbers);
  }

  /** Header of an attribute with `size` bytes of payload; returns the payload's offset. Padding is zeroed. */
  attribute(type: number, size: number): number {
    const at = this.length;
    this.#view.setUint16(at, size + 4, HOST_LITTLE_ENDIAN);
    this.#view.setUint16(at + 2, type, HOST_LITTLE_ENDIAN);
    this.length = at + 4 + ((size + 3) & ~3);
    for (let pad = at + 4 + size; pad < this.length; pad += 1) this.bytes[pad] = 0;
    return at + 4;
  }

  /** Opens an attribute of attributes; what `end` closes it with. */
  nest(type: number): number {
    const at = this.length;
    this.#view.setUint16(at + 2, type | NLA_F_NESTED, HOST_LITTLE_ENDIAN);
    this.length = at + 4;
    return at;
  }

  end(nest: number): void {
    this.#view.setUint16(nest, this.length - nest, HOST_LITTLE_ENDIAN);
  }

  u8(type: number, value: number): void {
    this.bytes[this.attribute(type, 1)] = value;
  }

  be16(type: number, value: number): void {
    this.#view.setUint16(this.attribute(type, 2), value);
  }

  be32(type: number, value: number): void {
    this.#view.setUint32(this.attribute(type, 4), value);
  }

  copy(type: number, from: Uint8Array, fromAt: number, size: number): void {
    const at = this.attribute(type, size);
    for (let index = 0; index < size; index += 1) this.bytes[at + index] = from[fromAt + index]!;
  }

  /** A name with the zero behind it that the kernel expects. */
  name(type: number, from: Uint8Array, fromAt: number, size: number): void {
    const at = this.attribute(type, size + 1);
    for (let index = 0; index < size; index += 1) this.bytes[at + index] = from[fromAt + index]!;
    this.bytes[at + size] = 0;
  }
}
