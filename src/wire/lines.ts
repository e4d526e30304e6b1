// Lines: a stream of bytes cut into lines of text, for the two local sockets (wire/control.ts). It keeps what
// is not yet a whole line, up to a bound, and never grows beyond it. Pure: it is fed, it does not read.

export type LinesFed =
  /** Whole lines, in order, without their line feed; empty where more bytes are needed. */
  | { readonly kind: "lines"; readonly lines: readonly string[] }
  /** A line longer than the bound, or bytes that are not UTF-8: the stream is lost and must be closed. */
  | { readonly kind: "refused"; readonly reason: "line-too-long" | "not-utf8" };

export interface LineReader {
  feed(bytes: Uint8Array): LinesFed;
  /** Bytes held back because their line is not complete. */
  readonly pendingBytes: number;
}

const LINE_FEED = 10;

/** A reader that refuses lines of more than `lineBytesMax` bytes (the line feed not counted). */
export function createLineReader(lineBytesMax: number): LineReader {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let pieces: Uint8Array[] = [];
  let pendingBytes = 0;

  const take = (last: Uint8Array): Uint8Array => {
    if (pieces.length === 0) return last;
    const line = new Uint8Array(pendingBytes + last.length);
    let offset = 0;
    for (const piece of [...pieces, last]) {
      line.set(piece, offset);
      offset += piece.length;
    }
    pieces = [];
    pendingBytes = 0;
    return line;
  };

  return {
    get pendingBytes() {
      return pendingBytes;
    },
    feed(bytes) {
      const lines: string[] = [];
      let start = 0;
      for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED, start)) {
        if (pendingBytes + end - start > lineBytesMax) return { kind: "refused", reason: "line-too-long" };
        try {
          lines.push(decoder.decode(take(bytes.subarray(start, end))));
        } catch {
          return { kind: "refused", reason: "not-utf8" };
        }
        start = end + 1;
      }
      const rest = bytes.length - start;
      if (pendingBytes + rest > lineBytesMax) return { kind: "refused", reason: "line-too-long" };
      if (rest > 0) {
        // A copy: the caller may reuse its buffer.
        pieces.push(bytes.slice(start));
        pendingBytes += rest;
      }
      return { kind: "lines", lines };
    },
  };
}
