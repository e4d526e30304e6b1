// The end of a snapshot: a snapshot is a set, so what the kernel holds of the pair and did not hear of in it goes.
// A dump that the kernel filters by the generation's bits, and deletes, many a send. Decides nothing about generations.

import { MARK_GENERATION_SHIFT, MARK_LINK_MASK, SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import type { SessionFields } from "../wire/sessionFields.ts";
import { openSessionScan } from "./sessionDump.ts";
import type { SessionExchange } from "./sessionExchange.ts";

/** Ends every entry of these links with another generation than `generation`; returns how many it ended. */
export function sweepGenerations(
  kernel: SessionExchange,
  linkIds: readonly number[],
  generation: number,
): number {
  const links = new Set(linkIds);
  // Other than `generation` means that one of its two bits differs: two walks of the table, whatever the number
  // of links, in which the kernel copies little but what has to go. (A filtered flush takes a walk for each link.)
  return [1, 2].reduce((swept, bit) => swept + sweepBit(kernel, links, (~generation & bit) !== 0, bit), 0);
}

function sweepBit(kernel: SessionExchange, links: ReadonlySet<number>, set: boolean, bit: number): number {
  const generation = (bit << MARK_GENERATION_SHIFT) >>> 0;
  const [only] = links;
  const mark =
    links.size === 1 && only !== undefined
      ? { value: (set ? generation : 0) | only, mask: generation | MARK_LINK_MASK }
      : { value: set ? generation : 0, mask: generation };
  const table = openSessionScan({ mark });
  let swept = 0;
  let pending = 0;
  const flush = (): void => {
    if (pending === 0) return;
    kernel.perform(pending, null);
    for (let index = 0; index < pending; index += 1) if (kernel.errors[index] === 0) swept += 1;
    pending = 0;
    kernel.begin();
  };
  kernel.begin();
  try {
    const take = (fields: SessionFields): boolean => {
      if (!links.has(fields.mark & MARK_LINK_MASK)) return true;
      kernel.requests.delete(fields, kernel.sequence + pending, "original");
      pending += 1;
      if (pending === SESSION_REQUESTS_PER_SEND) flush();
      return true;
    };
    while (table.next(take));
    flush();
    return swept;
  } finally {
    table.close();
  }
}
