// Captured heartbeats, opened with one node's key: for whoever has that key file, either direction (docs/protocol.md §3.1). It
// believes nothing: freshness is the living nodes' business, and a capture is old by nature.

import { createSecretKey, diffieHellman, type KeyObject } from "node:crypto";
import type { NodeId } from "../base/units.ts";
import { bytesToHex } from "../wire/codec.ts";
import { decodeInner, type Proof, splitDatagram } from "../wire/datagram.ts";
import { agreementKeyObject, agreementPrivateKey, agreementPublicKey } from "./curve.ts";
import { parsePublicKey, rawPublicKey } from "./identity.ts";
import { decipher, deriveKey, infoFor, seedOf } from "./sealed.ts";

export interface CapturedDatagram {
  readonly sender: NodeId;
  /** Of the sender's heart, in hexadecimal digits. */
  readonly bootId: string;
  readonly sequence: number;
  readonly proof: Proof;
  readonly body: Uint8Array;
}

export type CapturedResult =
  | { readonly ok: true; readonly datagram: CapturedDatagram }
  | { readonly ok: false; readonly reason: string };

/** One way in which a datagram between the two may have been sealed. */
interface Candidate {
  readonly sender: NodeId;
  readonly secret: KeyObject;
  readonly info: Buffer;
}

export class DatagramCapture {
  readonly #candidates: readonly Candidate[];
  /** The key of each boot that was met; null: none of ours opens it. */
  readonly #boots = new Map<string, { readonly sender: NodeId; readonly key: KeyObject }>();

  /** `peerPublicKeys`: those that may be at the other end (`ed25519:...`); what is no key is passed over. */
  constructor(privateKey: KeyObject, peerPublicKeys: readonly string[]) {
    const ours = rawPublicKey(privateKey);
    this.#candidates = peerPublicKeys.flatMap((text) => {
      const theirs = parsePublicKey(text);
      const agreed = theirs === null ? null : agreementPublicKey(theirs);
      if (theirs === null || agreed === null) return [];
      const ends = {
        privateKey: agreementPrivateKey(seedOf(privateKey)),
        publicKey: agreementKeyObject(agreed),
      };
      const secret = createSecretKey(diffieHellman(ends));
      return (["a", "b"] as const).flatMap((sender) => [
        { sender, secret, info: infoFor(sender, ours, theirs) },
        { sender, secret, info: infoFor(sender, theirs, ours) },
      ]);
    });
  }

  /** What one datagram says, or why it cannot be read. */
  open(raw: Uint8Array): CapturedResult {
    const split = splitDatagram(raw);
    if (!split.ok) return split;
    const { parts } = split;
    const bootId = bytesToHex(parts.bootId);
    const known = this.#boots.get(bootId);
    const keys =
      known === undefined
        ? this.#candidates.map(({ sender, secret, info }) => ({
            sender,
            key: deriveKey(secret, parts.bootId, info),
          }))
        : [known];
    for (const { sender, key } of keys) {
      const opened = decipher(key, parts);
      const inner = opened === null ? null : decodeInner(opened);
      if (inner === null) continue;
      this.#boots.set(bootId, { sender, key });
      const { proof, body } = inner;
      return { ok: true, datagram: { sender, bootId, sequence: parts.sequence, proof, body } };
    }
    return { ok: false, reason: "no key that was given opens it" };
  }
}
