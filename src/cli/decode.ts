// `understudy decode FILE`: a recorded file, or a capture with the keys, in words. It needs no daemon and no privileges but the
// right to read the files.

import { readFileSync, statSync } from "node:fs";
import { readConfiguration } from "../admin/configFiles.ts";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { CAPTURE_BYTES_MAX } from "../base/limits.ts";
import { peerOf } from "../base/units.ts";
import { formatErrors } from "../core/configTree.ts";
import { DatagramCapture } from "../peer/datagramCapture.ts";
import { loadIdentity } from "../peer/identity.ts";
import { parseKeyLog } from "../peer/keyLog.ts";
import { isCapture, readCapture } from "../wire/capture.ts";
import { isRecording, readRecording } from "../wire/recording.ts";
import { decodeCapture } from "./decodeCapture.ts";
import { type Decoded, decodedPlain, decodedText } from "./decodeMessages.ts";
import type { Terminal } from "./terminal.ts";

export interface DecodeOptions {
  /** A key log (SSLKEYLOGFILE) for the connections of a capture; pcapng may bring its own. */
  readonly keys?: string;
  /** The node's file: its key opens heartbeats. */
  readonly node?: string;
  readonly json: boolean;
}

/** Prints all that `file` says. Refused (exit code) where some of it stays shut or is missing: standard error says what. */
export function decodeFile(file: string, options: DecodeOptions, terminal: Terminal): ExitCode {
  const raw = contentOf(file);
  let [printed, faults] = [0, 0];
  const emit = (decoded: Decoded): void => {
    printed += 1;
    if (decoded.kind === "note" && decoded.isFault) faults += 1;
    terminal.out(
      options.json ? `${JSON.stringify(decodedPlain(decoded))}\n` : decodedText(decoded, terminal.style),
    );
  };
  const incomplete = isRecording(raw)
    ? printRecording(file, raw, emit)
    : printCapture(file, raw, options, emit);
  if (incomplete !== null) terminal.err(`understudy: ${file}: ${incomplete}\n`);
  if (printed === 0) terminal.err(`understudy: ${file}: nothing of port 1148 is in it\n`);
  return incomplete === null && faults === 0 && printed > 0 ? ExitCode.Ok : ExitCode.Refused;
}

function contentOf(file: string): Uint8Array {
  try {
    const { size } = statSync(file);
    if (size > CAPTURE_BYTES_MAX) throw notOurs(file, `${size} bytes are more than ${CAPTURE_BYTES_MAX}`);
    const raw = readFileSync(file);
    return new Uint8Array(raw.buffer, raw.byteOffset, raw.length);
  } catch (error) {
    if (error instanceof BoundaryError) throw error;
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    throw new BoundaryError({ operation: `read ${file}`, code, words: message });
  }
}

const notOurs = (file: string, words: string): BoundaryError =>
  new BoundaryError({
    operation: `decode ${file}`,
    code: "NOT_A_CAPTURE",
    words,
    advice: "Expected: a file of `understudy record`, or a capture (pcap, pcapng) of port 1148.",
  });

/** What is missing at the end, or null. */
function printRecording(file: string, raw: Uint8Array, emit: (decoded: Decoded) => void): string | null {
  const recording = readRecording(raw);
  if (!recording.ok) throw notOurs(file, recording.reason);
  const peer = peerOf(recording.node);
  for (const { at, what, version, message } of recording.messages) {
    const direction =
      what === "received" ? { from: peer, to: recording.node } : { from: recording.node, to: peer };
    if (message !== null) emit({ at, direction, kind: "message", message });
    else emit({ at, direction, kind: "note", text: `${what}, protocol version ${version}`, isFault: false });
  }
  return recording.incomplete;
}

function printCapture(
  file: string,
  raw: Uint8Array,
  options: DecodeOptions,
  emit: (decoded: Decoded) => void,
): string | null {
  if (!isCapture(raw)) throw notOurs(file, "it begins like neither");
  const capture = readCapture(raw);
  if (!capture.ok) throw notOurs(file, capture.reason);
  const texts = [...capture.keyLogs, ...(options.keys === undefined ? [] : [keyLogOf(options.keys)])];
  const keyLog = parseKeyLog(texts.join("\n")).keys;
  const datagrams = options.node === undefined ? null : datagramsOf(options.node);
  decodeCapture(capture.packets, { keyLog, datagrams }, emit);
  return capture.incomplete;
}

function keyLogOf(file: string): string {
  const text = new TextDecoder("latin1").decode(contentOf(file));
  const { keys, bad } = parseKeyLog(text);
  if (keys.size === 0)
    throw new BoundaryError({
      operation: `read the keys in ${file}`,
      code: "NOT_A_KEY_LOG",
      words: `the secrets of no TLS 1.3 connection are in it${bad === 0 ? "" : `, and ${bad} lines are of no key log`}`,
      advice: "`understudy record --keys` writes one; the connection must have begun while it did.",
    });
  return text;
}

/** Opens heartbeats with the key that a node's file names. */
function datagramsOf(nodeFile: string): DatagramCapture {
  const read = readConfiguration(nodeFile);
  if (!read.ok)
    throw new BoundaryError({
      operation: `read ${nodeFile}`,
      code: "INVALID",
      words: formatErrors(read.errors),
    });
  const { keyFile, peerKeys } = read.config;
  return new DatagramCapture(loadIdentity(keyFile).privateKey, peerKeys);
}
