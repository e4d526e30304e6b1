// Generations in the kernel's own table (replication §2): which of them entries carry, asked once at start, and the
// removal of one that is needed again. Two bits of the mark; everything else about marks is elsewhere.

import { LINK_ID_MAX, MARK_GENERATION_MASK, MARK_GENERATION_SHIFT, MARK_LINK_MASK } from "../base/limits.ts";
import { CTA_MARK, CTA_MARK_MASK, IPCTNL_MSG_CT_DELETE, NFNL_SUBSYS_CTNETLINK } from "../wire/conntrack.ts";
import { MessageWriter, NETLINK_NETFILTER } from "../wire/netlink.ts";
import { NetlinkSocket } from "./netlink.ts";
import { openSessionScan } from "./sessionDump.ts";

const GENERATIONS = [1, 2, 3] as const;

/** Those of 1..3 that at least one entry carries. Walks the table up to three times, copies almost nothing. */
export function carriedGenerations(): readonly number[] {
  return GENERATIONS.filter((generation) => {
    const mark = { value: generation << MARK_GENERATION_SHIFT, mask: MARK_GENERATION_MASK };
    const scan = openSessionScan({ mark });
    try {
      let found = false;
      const take = (): boolean => {
        found = true;
        return false;
      };
      while (!found && scan.next(take));
      return found;
    } finally {
      scan.close();
    }
  });
}

/** Ends every entry of these links (1..250) that carries `generation` (1..3). Throws KernelError. */
export function purgeGeneration(linkIds: readonly number[], generation: number): void {
  const socket = new NetlinkSocket(NETLINK_NETFILTER);
  try {
    for (const linkId of linkIds) {
      if (linkId < 1 || linkId > LINK_ID_MAX) continue;
      const request = new MessageWriter((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE)
        .fixed(Uint8Array.of(0, 0, 0, 0))
        .be32(CTA_MARK, linkId | (generation << MARK_GENERATION_SHIFT))
        .be32(CTA_MARK_MASK, MARK_LINK_MASK | MARK_GENERATION_MASK);
      socket.request(`remove generation ${generation} of link ${linkId}`, request);
    }
  } finally {
    socket.close();
  }
}
