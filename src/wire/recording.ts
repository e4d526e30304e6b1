// A recorded file (docs/protocol.md §5.9): the frames of the log's connection in clear, as one node sent and received them, with
// the time of each. Written by the daemon when it is asked to, read by `understudy decode`. Pure.

import { RECORDING_BYTES_MAX } from "../base/limits.ts";
import { bytes, decode, encode, oneOf, struct, u8, u48, type ValueOf } from "./codec.ts";
import { FRAME_HEAD_BYTES, FrameReader } from "./frames.ts";
import { type PeerMessage, PROTOCOL_VERSION } from "./peer.ts";
import { node } from "./peerFields.ts";
import { PREAMBLE_BYTES, PreambleKind, preamble, readPreamble } from "./preamble.ts";

export const recordingHead = struct({
  preamble: bytes(PREAMBLE_BYTES),
  /** Whose recording it is. */
  node,
  /** Milliseconds since 1970. */
  startedAt: u48,
});

export const recordingEntry = struct({
  /** Before a frame: which way it went. `connected` and `disconnected` have none behind them. */
  what: oneOf({ sent: 0, received: 1, connected: 2, disconnected: 3 }),
  /** The protocol version that is spoken on the connection. */
  version: u8,
  /** Microseconds since `startedAt`. */
  after: u48,
});
export type RecordingEntry = ValueOf<typeof recordingEntry>;

/** The first bytes of a file. `startedAt`: milliseconds since 1970. */
export function encodeRecordingHead(node: "a" | "b", startedAt: number): Uint8Array {
  return encode(recordingHead, { preamble: preamble(PreambleKind.Recording), node, startedAt });
}

export function encodeRecordingEntry(entry: RecordingEntry): Uint8Array {
  return encode(recordingEntry, entry);
}

export interface RecordedMessage {
  /** Microseconds since 1970. */
  readonly at: number;
  readonly what: RecordingEntry["what"];
  readonly version: number;
  /** null where nothing was said: a connection began or ended. */
  readonly message: PeerMessage | null;
}

export type RecordingResult =
  | {
      readonly ok: true;
      readonly node: "a" | "b";
      readonly messages: readonly RecordedMessage[];
      /** Where and why it ends before its end, in words; else null. */
      readonly incomplete: string | null;
    }
  | { readonly ok: false; readonly reason: string };

/** True where the file begins as a recording does. */
export const isRecording = (raw: Uint8Array): boolean =>
  readPreamble(raw, PreambleKind.Recording).kind === "ok";

/** Everything in a recorded file, or why it is none. A file that was cut off gives what it has. */
export function readRecording(raw: Uint8Array): RecordingResult {
  if (raw.length > RECORDING_BYTES_MAX)
    return {
      ok: false,
      reason: `${raw.length} bytes, and no recording has more than ${RECORDING_BYTES_MAX}`,
    };
  if (!isRecording(raw)) return { ok: false, reason: "no recording begins like this" };
  const head = decode(recordingHead, raw.subarray(0, recordingHead.maxBytes));
  if (!head.ok) return { ok: false, reason: `head: ${head.reason}` };
  const startedAt = head.value.startedAt * 1000;
  const messages: RecordedMessage[] = [];
  let at = recordingHead.maxBytes;
  let incomplete: string | null = null;
  while (at < raw.length && incomplete === null) {
    const entry = decode(recordingEntry, raw.subarray(at, at + recordingEntry.maxBytes));
    if (!entry.ok) {
      incomplete = `at byte ${at}: ${entry.reason}`;
      break;
    }
    const { what, version, after } = entry.value;
    const frameAt = at + recordingEntry.maxBytes;
    const isFrame = what === "sent" || what === "received";
    const frame = isFrame
      ? readFrame(raw, frameAt, version)
      : { ok: true as const, message: null, end: frameAt };
    if (frame.ok) {
      messages.push({ at: startedAt + after, what, version, message: frame.message });
      at = frame.end;
    } else incomplete = `at byte ${frameAt}: ${frame.reason}`;
  }
  return { ok: true, node: head.value.node, messages, incomplete };
}

type FrameAt =
  | { readonly ok: true; readonly message: PeerMessage; readonly end: number }
  | { readonly ok: false; readonly reason: string };

function readFrame(raw: Uint8Array, at: number, version: number): FrameAt {
  if (version > PROTOCOL_VERSION)
    return { ok: false, reason: `protocol version ${version}, and this program knows ${PROTOCOL_VERSION}` };
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  const length = at + FRAME_HEAD_BYTES <= raw.length ? 4 + view.getUint32(at) : Number.POSITIVE_INFINITY;
  const reader = new FrameReader(version);
  reader.push(raw.subarray(at, Math.min(raw.length, at + length)));
  const result = reader.next();
  if (result.kind === "need-more") return { ok: false, reason: "the file ends in this message" };
  if (result.kind === "malformed") return { ok: false, reason: result.reason };
  return { ok: true, message: result.message, end: at + length };
}
