// Who else is on a segment that should be the two nodes' own: the senders of its ARP and neighbour discovery, which no
// host can do without and which reach everybody. Bridges' own messages (spanning tree, LLDP) are not looked at: a VLAN
// of its own through a switch is a segment of its own. It opens nothing and knows no clock.

import { formatAddress, formatMac } from "../base/addresses.ts";
import { THIRD_PARTIES_MAX } from "../base/limits.ts";

const ETHERNET_BYTES = 14;
const ETHERTYPE_ARP = 0x0806;
/** Of the sender's protocol address in an ARP packet over Ethernet (RFC 826), from the frame's beginning. */
const ARP_SENDER = 28;
const NAMED_MAX = 3;

export class ThirdParties {
  readonly #device: string;
  /** MAC -> the address that it last gave as its own, or empty. Since the last judgement. */
  readonly #heard = new Map<string, string>();

  constructor(device: string) {
    this.#device = device;
  }

  /** One received Ethernet frame; its bytes are not kept. */
  hear(frame: Uint8Array): void {
    if (frame.length < ETHERNET_BYTES) return;
    const mac = formatMac(frame.subarray(6, 12));
    if (!this.#heard.has(mac) && this.#heard.size >= THIRD_PARTIES_MAX) return;
    const isArp = ((frame[12]! << 8) | frame[13]!) === ETHERTYPE_ARP && frame.length >= ARP_SENDER + 4;
    this.#heard.set(mac, isArp ? formatAddress(frame.subarray(ARP_SENDER, ARP_SENDER + 4)) : "");
  }

  /**
   * Who was heard since the last call and is not the peer: `02:.. (10.255.0.9) on eth3`; null where nobody was.
   * `peerMac` null: the peer's MAC is not known (yet), and nobody is accused.
   */
  judge(peerMac: string | null): string | null {
    if (peerMac === null) return null;
    const others = [...this.#heard].filter(([mac]) => mac !== peerMac);
    this.#heard.clear();
    if (others.length === 0) return null;
    const named = others
      .map(([mac, address]) => (address === "" ? mac : `${mac} (${address})`))
      .sort()
      .slice(0, NAMED_MAX);
    const more = others.length > NAMED_MAX ? ` and ${others.length - NAMED_MAX} more` : "";
    return `${named.join(", ")}${more} on ${this.#device}`;
  }
}
