// Kernel settings (/proc/sys/net) of the network namespace that the process is in. What a setting was before it was
// changed is kept in the state directory, written before the change, and put back when the pair is undressed: also
// after a crash in between. Knows no setting by name. Synchronous: /proc/sys/net shows the namespace of the
// thread that opens it, and that must be the main one.

import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { BoundaryError } from "../base/errors.ts";
import type { Setting } from "./dressPlan.ts";

const ROOT = "/proc/sys";
const FILE = "settings.json";

/** Null where the kernel has no such setting (an older kernel, a module not loaded, an interface gone). */
export function readSetting(path: string): string | null {
  try {
    return readFileSync(join(ROOT, path), "latin1").trim();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw refusal(`read ${path}`, error);
  }
}

/** The names under a directory of settings: `net/ipv4/conf` has one an interface. */
export function listSettings(path: string): readonly string[] {
  return readdirSync(join(ROOT, path));
}

/** Whether something was changed. @throws BoundaryError with the setting, the value and the kernel's words */
export function writeSetting(setting: Setting): boolean {
  const now = readSetting(setting.path);
  if (now === setting.value) return false;
  const operation = `set ${setting.path} to ${setting.value} (${setting.why})`;
  if (now === null) throw new BoundaryError({ operation, code: "ENOENT", words: "no such setting" });
  try {
    writeFileSync(join(ROOT, setting.path), setting.value);
  } catch (error) {
    throw refusal(operation, error);
  }
  return true;
}

interface Kept {
  /** Boot and namespace that the values are of: of another one they mean nothing. */
  readonly world: string;
  /** Path -> what it was, and what we made of it. */
  readonly values: Record<string, { readonly was: string; readonly ours: string }>;
}

/** Changes settings and remembers what they were. */
export class SettingsKeeper {
  readonly #directory: string;
  readonly #values: Record<string, { readonly was: string; readonly ours: string }>;

  constructor(stateDirectory: string) {
    this.#directory = stateDirectory;
    this.#values = { ...this.#read()?.values };
  }

  /** Whether something was changed. */
  write(setting: Setting): boolean {
    const now = readSetting(setting.path);
    if (now === setting.value) return false;
    if (now !== null) {
      const was = this.#values[setting.path]?.was ?? now;
      this.#values[setting.path] = { was, ours: setting.value };
      this.#save();
    }
    return writeSetting(setting);
  }

  /** Puts everything back that is still as we left it, or what of it `isMeant`. Returns the paths. */
  restore(isMeant: (path: string) => boolean = () => true): readonly string[] {
    const restored: string[] = [];
    const meant = Object.entries(this.#values).filter(([path]) => isMeant(path));
    for (const [path, { was, ours }] of meant.reverse()) {
      // Somebody else's later change is theirs.
      if (readSetting(path) === ours && writeSetting({ path, value: was, why: "as it was before" }))
        restored.push(path);
      delete this.#values[path];
    }
    if (Object.keys(this.#values).length === 0) rmSync(join(this.#directory, FILE), { force: true });
    else if (meant.length > 0) this.#save();
    return restored;
  }

  #read(): Kept | null {
    try {
      const kept = JSON.parse(readFileSync(join(this.#directory, FILE), "utf8")) as Kept;
      return kept.world === world() ? kept : null;
    } catch (error) {
      // Absent, or torn by a power cut: then this is another boot, and it means nothing anyway.
      if (codeOf(error) === "ENOENT" || error instanceof SyntaxError) return null;
      throw refusal(`read ${join(this.#directory, FILE)}`, error);
    }
  }

  #save(): void {
    const file = join(this.#directory, FILE);
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const kept: Kept = { world: world(), values: this.#values };
      writeFileSync(`${file}.new`, `${JSON.stringify(kept, null, 1)}\n`, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    } catch (error) {
      throw refusal(`remember kernel settings in ${file}`, error);
    }
  }
}

function world(): string {
  const boot = readFileSync(`${ROOT}/kernel/random/boot_id`, "latin1").trim();
  return `${boot} ${readlinkSync("/proc/thread-self/ns/net")}`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function refusal(operation: string, error: unknown): BoundaryError {
  const code = codeOf(error);
  const words = error instanceof Error ? error.message : String(error);
  const advice = {
    EPERM: ROOT_NEEDED,
    EACCES: ROOT_NEEDED,
    EROFS: "Is /proc/sys mounted read-only (a container)?",
  }[code];
  return new BoundaryError(
    { operation, code, words, ...(advice === undefined ? {} : { advice }) },
    { cause: error },
  );
}

const ROOT_NEEDED = "Needs CAP_NET_ADMIN: run it as root.";
