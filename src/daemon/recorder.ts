// Records what the log's connection says, or the keys of its TLS, into a file, for a while, because somebody asked
// (docs/operations.md §9). Off unless asked for; bounded in time and bytes; the file is new, and its owner's alone: frames show every session of the
// network, keys open every capture of those connections. A disk that is too slow ends the recording, never the replication.

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { BoundaryError } from "../base/errors.ts";
import { RECORDING_QUEUE_BYTES_MAX } from "../base/limits.ts";
import type { NodeId } from "../base/units.ts";
import type { ConnectionTap } from "../peer/connection.ts";
import type { RecordOrder } from "../wire/control.ts";
import { encodeRecordingEntry, encodeRecordingHead } from "../wire/recording.ts";

export interface RecordingOrder {
  /** Absolute. */
  readonly file: string;
  readonly what: "frames" | "keys";
  readonly seconds: number;
  readonly bytesMax: number;
}

export interface RecorderOptions {
  readonly node: NodeId;
  readonly log: (line: string) => void;
}

interface Recording {
  readonly order: RecordingOrder;
  readonly handle: FileHandle;
  /** performance.now() at its begin. */
  readonly begunAt: number;
  readonly timer: NodeJS.Timeout;
  queue: Uint8Array[];
  queuedBytes: number;
  bytes: number;
  writing: Promise<void> | null;
}

export class Recorder implements ConnectionTap {
  readonly #options: RecorderOptions;
  #current: Recording | null = null;
  /** A file is being opened: a second order must not overtake it. */
  #opening = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** For the connection; null while nothing is recorded. */
  get tap(): ConnectionTap | null {
    return this.#current === null ? null : this;
  }

  /** What the command line wants; null: the end of what is under way. What became of it. @throws BoundaryError */
  async obey(order: RecordOrder | null, reconnect: () => void): Promise<string> {
    if (order === null) return (await this.stop()) ? "the recording has ended" : "nothing is being recorded";
    const { file, what, seconds, megabytes } = order;
    await this.start({ file, what, seconds, bytesMax: megabytes << 20 });
    if (order.reconnect) reconnect();
    return `recording ${what} into ${file} for ${seconds} s, at most ${megabytes} MB`;
  }

  /** Begins. @throws BoundaryError where another one is under way, or the file cannot be made. */
  async start(order: RecordingOrder): Promise<void> {
    const operation = `record into ${order.file}`;
    if (this.#current !== null || this.#opening)
      throw new BoundaryError({
        operation,
        code: "BUSY",
        words: "a recording is under way",
        advice: "`understudy record --stop` ends it.",
      });
    this.#opening = true;
    try {
      const handle = await create(order.file, operation);
      const timer = setTimeout(() => this.#end("the time is over"), order.seconds * 1000);
      const begun = { begunAt: performance.now(), queue: [], queuedBytes: 0, bytes: 0, writing: null };
      this.#current = { order, handle, timer, ...begun };
    } finally {
      this.#opening = false;
    }
    if (order.what === "frames") this.#write(encodeRecordingHead(this.#options.node, Date.now()));
  }

  /** Ends what is under way; false: nothing was. Resolves when the file is closed. */
  async stop(): Promise<boolean> {
    const current = this.#current;
    if (current === null) return false;
    this.#end("it was asked to");
    await current.writing;
    return true;
  }

  frame(way: "sent" | "received", version: number, bytes: Uint8Array): void {
    if (this.#current?.order.what !== "frames") return;
    this.#write(Buffer.concat([this.#entry(way, version), bytes]));
  }

  connection(what: "connected" | "disconnected", version: number): void {
    if (this.#current?.order.what === "frames") this.#write(this.#entry(what, version));
  }

  key(line: Uint8Array): void {
    if (this.#current?.order.what === "keys") this.#write(line);
  }

  #entry(what: "sent" | "received" | "connected" | "disconnected", version: number): Uint8Array {
    const after = Math.round((performance.now() - this.#current!.begunAt) * 1000);
    return encodeRecordingEntry({ what, version, after });
  }

  #write(bytes: Uint8Array): void {
    const current = this.#current;
    if (current === null) return;
    if (current.bytes + bytes.length > current.order.bytesMax) {
      this.#end(`it has ${current.bytes} bytes, and the next message would be too many`);
      return;
    }
    if (current.queuedBytes + bytes.length > RECORDING_QUEUE_BYTES_MAX) {
      this.#end("the disk is too slow");
      return;
    }
    current.bytes += bytes.length;
    current.queue.push(bytes);
    current.queuedBytes += bytes.length;
    current.writing ??= this.#drain(current);
  }

  async #drain(recording: Recording): Promise<void> {
    // What comes within this turn goes with one write.
    await null;
    try {
      while (recording.queue.length > 0) {
        const batch = Buffer.concat(recording.queue.splice(0));
        await recording.handle.appendFile(batch);
        recording.queuedBytes -= batch.length;
      }
    } catch (error) {
      recording.queue = [];
      if (this.#current === recording) this.#end((error as Error).message);
    }
    recording.writing = null;
  }

  #end(why: string): void {
    const recording = this.#current;
    if (recording === null) return;
    this.#current = null;
    clearTimeout(recording.timer);
    this.#options.log(`recording into ${recording.order.file} ended after ${recording.bytes} bytes: ${why}`);
    const written = recording.writing ?? Promise.resolve();
    recording.writing = written.then(() => recording.handle.close());
  }
}

/** A new file, readable for its owner alone; never one that is there, never through a link. */
async function create(file: string, operation: string): Promise<FileHandle> {
  try {
    return await open(
      file,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND | constants.O_NOFOLLOW,
      0o600,
    );
  } catch (error) {
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    const advice = "A file that is there is never overwritten: name another one.";
    throw new BoundaryError({ operation, code, words: message, ...(code === "EEXIST" ? { advice } : {}) });
  }
}
