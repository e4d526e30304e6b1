// What the live sessions say, so that one wrong, missing, doubled or foreign byte is seen. Both ends derive it from
// the session's seed and the position; nothing is stored. Pure.

/** Longest run that is sent or compared at once. */
export const CHUNK_BYTES_MAX = 65536;
// A prime: no two positions of a session that lie a power of two apart look alike.
const PERIOD = 65521;

const pattern = new Uint8Array(PERIOD + CHUNK_BYTES_MAX);
let state = 0x9e3779b9;
for (let index = 0; index < PERIOD; index += 1) {
  // xorshift32
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  pattern[index] = state & 0xff;
}
pattern.copyWithin(PERIOD, 0, CHUNK_BYTES_MAX);

/** `length` bytes that the session with `seed` says from `position` on; a view, not to be written. */
export function contentAt(seed: number, position: number, length: number): Uint8Array {
  const start = (seed * 7919 + position) % PERIOD;
  return pattern.subarray(start, start + length);
}

/** True where `bytes` are what the session says at `position`. */
export function isContent(bytes: Uint8Array, seed: number, position: number): boolean {
  const expected = contentAt(seed, position, bytes.length);
  for (let index = 0; index < bytes.length; index += 1) if (bytes[index] !== expected[index]) return false;
  return true;
}

/** FNV-1a, continued over the next bytes of a stream. */
export function checksum(previous: number, bytes: Uint8Array): number {
  let hash = previous;
  for (let index = 0; index < bytes.length; index += 1) hash = Math.imul(hash ^ bytes[index]!, 0x01000193);
  return hash >>> 0;
}
export const CHECKSUM_START = 0x811c9dc5;

/** One message of an echo session: number, checksum of all payload so far, payload. */
export const ECHO_BYTES = 48;
const PAYLOAD_AT = 8;
export const ECHO_PAYLOAD_BYTES = ECHO_BYTES - PAYLOAD_AT;

/** One end's view of an echo stream: messages are written or checked one after the other. */
export interface EchoStream {
  sequence: number;
  sum: number;
}
export const echoStream = (): EchoStream => ({ sequence: 0, sum: CHECKSUM_START });

/** Writes the stream's next message into `into`. */
export function nextEcho(stream: EchoStream, seed: number, into: Uint8Array): void {
  const payload = contentAt(seed, stream.sequence * ECHO_PAYLOAD_BYTES, ECHO_PAYLOAD_BYTES);
  stream.sum = checksum(stream.sum, payload);
  writeUint32(into, 0, stream.sequence);
  writeUint32(into, 4, stream.sum);
  into.set(payload, PAYLOAD_AT);
  stream.sequence += 1;
}

/** True where `message` is exactly the stream's next one. */
export function takeEcho(stream: EchoStream, seed: number, message: Uint8Array): boolean {
  const payload = message.subarray(PAYLOAD_AT, ECHO_BYTES);
  const sum = checksum(stream.sum, payload);
  const right =
    readUint32(message, 0) === stream.sequence &&
    readUint32(message, 4) === sum &&
    isContent(payload, seed, stream.sequence * ECHO_PAYLOAD_BYTES);
  stream.sum = sum;
  stream.sequence += 1;
  return right;
}

/** What a client says first: which session this is. */
export const HELLO_BYTES = 8;
const HELLO_MAGIC = 0x5d1f0a17;
export function hello(seed: number): Uint8Array {
  const bytes = new Uint8Array(HELLO_BYTES);
  writeUint32(bytes, 0, HELLO_MAGIC);
  writeUint32(bytes, 4, seed);
  return bytes;
}
/** The seed, or null where it is no hello. */
export function readHello(bytes: Uint8Array): number | null {
  return bytes.length === HELLO_BYTES && readUint32(bytes, 0) === HELLO_MAGIC ? readUint32(bytes, 4) : null;
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
