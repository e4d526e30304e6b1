// Sessions that a new configuration leaves no way for: a link that is gone, an address that a link has no longer. Their
// entries are deleted, so that the next packet of each begins a session anew, on a link that is there; its far end, which knows
// nothing of it, says so, and the application connects again instead of waiting. Which ones is core/configPlan.ts's business.

import { formatAddress } from "../base/addresses.ts";
import { MARK_LINK_MASK, SESSION_REQUESTS_PER_SEND } from "../base/limits.ts";
import type { SessionFields } from "../wire/sessionFields.ts";
import { openSessionScan } from "./sessionDump.ts";
import { openSessionExchange } from "./sessionExchange.ts";

/**
 * Ends every session of the link, those excepted that are translated to one of `keeps` (canonical addresses). How many it
 * ended. Steps aside after each datagram of the table (about 130 entries). Their ends are told to the standby as any other.
 * @throws KernelError
 */
export async function endSessions(linkId: number, keeps: readonly string[]): Promise<number> {
  const kept = new Set(keeps);
  const kernel = openSessionExchange();
  const table = openSessionScan({ mark: { value: linkId, mask: MARK_LINK_MASK } });
  let [ended, pending] = [0, 0];
  const flush = (): void => {
    if (pending === 0) return;
    kernel.perform(pending, null);
    // What has ended by itself meanwhile is refused.
    for (let index = 0; index < pending; index += 1) if (kernel.errors[index] === 0) ended += 1;
    pending = 0;
    kernel.begin();
  };
  const take = (fields: SessionFields): boolean => {
    if (kept.has(translatedTo(fields))) return true;
    kernel.requests.delete(fields, kernel.sequence + pending, "original");
    pending += 1;
    if (pending === SESSION_REQUESTS_PER_SEND) flush();
    return true;
  };
  kernel.begin();
  try {
    while (table.next(take)) {
      flush();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    flush();
    return ended;
  } finally {
    table.close();
    kernel.close();
  }
}

/** Where its far end sends the answers. */
const translatedTo = (fields: SessionFields): string =>
  formatAddress(
    fields.bytes.subarray(fields.replyDestination, fields.replyDestination + fields.addressBytes),
  );
