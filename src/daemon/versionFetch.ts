// The text of a configuration that only the peer has, for whoever wants to look at it: asked for over the log's connection, and
// held against its header before anybody sees it. One at a time; it keeps nothing.

import type { ConfigStore } from "../admin/configStore.ts";
import { BoundaryError } from "../base/errors.ts";
import { CONFIGURATION_ANSWER_MS_MAX } from "../base/limits.ts";
import { headerFault } from "../core/configVersions.ts";
import type { ConfigurationVersionView } from "../wire/controlConfiguration.ts";
import type { MessageOf } from "../wire/peer.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A text as it travels; null where it is not UTF-8. */
export function textOf(content: Uint8Array): string | null {
  try {
    return decoder.decode(content);
  } catch {
    return null;
  }
}

/** For the machine and the peer: a text that the disk does not give any more is not there. Why is told to `log`. */
export function readableText(
  store: Pick<ConfigStore, "text">,
  id: string,
  log: (line: string) => void,
): string | null {
  try {
    return store.text(id);
  } catch (error) {
    if (!(error instanceof BoundaryError)) throw error;
    log(`configuration: ${error.message}`);
    return null;
  }
}

/** A refusal that is a sentence of its own. */
export const refused = (operation: string, words: string): BoundaryError =>
  new BoundaryError({ operation, code: "REFUSED", words });

interface Waiter {
  resolve(version: ConfigurationVersionView): void;
  reject(error: Error): void;
}

export class VersionFetch {
  #asked: { readonly id: string; readonly waiters: Waiter[]; readonly timer: NodeJS.Timeout } | null = null;

  /** Asks for a version, once for all who want it. Rejects with a BoundaryError: it is gone, or no answer comes. */
  ask(
    id: string,
    send: (message: MessageOf<"configurationFetch">) => void,
  ): Promise<ConfigurationVersionView> {
    return new Promise((resolve, reject) => {
      if (this.#asked?.id === id) {
        this.#asked.waiters.push({ resolve, reject });
        return;
      }
      this.fail("it has another version by now; ask again");
      const timer = setTimeout(() => this.fail("no answer in time"), CONFIGURATION_ANSWER_MS_MAX);
      this.#asked = { id, waiters: [{ resolve, reject }], timer };
      send({ kind: "configurationFetch", id });
    });
  }

  /** An answer of the peer's, to this question or another. */
  take({ id, versions }: MessageOf<"configurationVersion">): void {
    if (id !== this.#asked?.id) return;
    const given = versions[0];
    const text = given === undefined ? null : textOf(given.content);
    if (given === undefined || text === null) this.fail("it does not have it any more");
    else {
      const fault = given.header.id === id ? headerFault(given.header, text) : "it gave another one";
      if (fault === null) for (const { resolve } of this.#end()) resolve({ header: given.header, text });
      else this.fail(fault);
    }
  }

  /** There will be no answer. */
  fail(words: string): void {
    for (const { reject } of this.#end()) reject(refused("ask the other node", `the other node: ${words}`));
  }

  #end(): readonly Waiter[] {
    const asked = this.#asked;
    this.#asked = null;
    if (asked === null) return [];
    clearTimeout(asked.timer);
    return asked.waiters;
  }
}
