// SHA-256 (FIPS 180-4), pure: what the pure rooms derive from names (virtual MACs, the placement seed, the
// configuration's digest) must be the same on both nodes and is documented, so it rests on a published
// function. For short, public inputs; secrets and bulk belong to node:crypto in the impure rooms.

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4 §4.2.2). */
const ROUND_CONSTANTS = fractionalRoots(64, Math.cbrt, 3n);
/** The same of the square roots of the first 8 primes (§5.3.3). */
const INITIAL = fractionalRoots(8, Math.sqrt, 2n);

/** The 32 bytes of the digest of `data` (text as UTF-8). */
export function sha256(data: Uint8Array | string): Uint8Array {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  // §5.1.1: the message, one bit, zeros, its length in bits; together a multiple of 64 bytes.
  const padded = new Uint8Array((((bytes.length + 8) >> 6) + 1) << 6);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
  const state = Uint32Array.from(INITIAL);
  const schedule = new Uint32Array(64);
  for (let offset = 0; offset < padded.length; offset += 64) compress(state, schedule, view, offset);
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  for (let i = 0; i < 8; i++) out.setUint32(i * 4, state[i]!);
  return digest;
}

/** The digest as 64 hexadecimal digits. */
export function sha256Hex(data: Uint8Array | string): string {
  return Array.from(sha256(data), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const rotate = (x: number, n: number): number => (x >>> n) | (x << (32 - n));

/** §6.2.2: one block of 64 bytes into the state. */
function compress(state: Uint32Array, w: Uint32Array, view: DataView, offset: number): void {
  for (let t = 0; t < 16; t++) w[t] = view.getUint32(offset + t * 4);
  for (let t = 16; t < 64; t++) {
    const [early, late] = [w[t - 15]!, w[t - 2]!];
    const small0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3);
    const small1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10);
    w[t] = small1 + w[t - 7]! + small0 + w[t - 16]!;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  for (let t = 0; t < 64; t++) {
    const big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const first = (h + big1 + ((e & f) ^ (~e & g)) + ROUND_CONSTANTS[t]! + w[t]!) | 0;
    const big0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const second = (big0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  for (const [i, value] of [a, b, c, d, e, f, g, h].entries()) state[i] = state[i]! + value;
}

/**
 * The first 32 fractional bits of the roots of the first `count` primes, exactly: the floating-point root times
 * 2^32 is only a guess, corrected with whole numbers until guess^degree <= prime * 2^(32 * degree) < next.
 */
function fractionalRoots(count: number, root: (x: number) => number, degree: bigint): Uint32Array {
  const result = new Uint32Array(count);
  let found = 0;
  for (let n = 2; found < count; n++) {
    let prime = true;
    for (let divisor = 2; divisor * divisor <= n; divisor++) prime &&= n % divisor !== 0;
    if (!prime) continue;
    const target = BigInt(n) << (32n * degree);
    let guess = BigInt(Math.floor(root(n) * 2 ** 32));
    while (guess ** degree > target) guess--;
    while ((guess + 1n) ** degree <= target) guess++;
    result[found++] = Number(guess & 0xffffffffn);
  }
  return result;
}
