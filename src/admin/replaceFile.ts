// A file replaced as a whole: whoever reads it, or finds it after a power cut, has the old text or the new one. Mode and owner stay
// those of the file that is replaced. It knows nothing of what is in it.

import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { BoundaryError } from "../base/errors.ts";

const encoder = new TextEncoder();

/**
 * Puts `text` in the place of the file at `path` (through symbolic links: the file that they lead to), on disk when it returns.
 * @throws BoundaryError with the system's words; the file is then as it was.
 */
export function replaceFile(path: string, text: string): void {
  try {
    const file = realpathSync(path);
    const { mode, uid, gid } = statSync(file);
    const temporary = join(dirname(file), `.${basename(file)}.new`);
    try {
      const fd = openSync(temporary, "w", 0o600);
      try {
        const bytes = encoder.encode(text);
        for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
        const made = fstatSync(fd);
        // Nothing that asks for a privilege where nothing is to be changed.
        if (made.uid !== uid || made.gid !== gid) fchownSync(fd, uid, gid);
        fchmodSync(fd, mode & 0o7777);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, file);
    } catch (error) {
      removeQuietly(temporary);
      throw error;
    }
    syncDirectory(dirname(file));
  } catch (error) {
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    const advice =
      code === "EROFS"
        ? "The unit of systemd must let the daemon write there: ReadWritePaths= (packaging/understudy.service)."
        : "Its directory must be writable, and its disk must have room.";
    throw new BoundaryError({ operation: `replace ${path}`, code, words: message, advice }, { cause: error });
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was not made, or cannot be removed: the error that led here says why.
  }
}

/** A rename is on disk once its directory is. */
function syncDirectory(directory: string): void {
  const fd = openSync(directory, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
