// Why a node is not ready to take over, as far as replication goes: every reason that holds, in words. It looks, and changes
// nothing.

import type { Role } from "../base/units.ts";
import { isSynchronised, describe as receiverText } from "../core/replication/receiver.ts";
import type { ReceiverState } from "../core/replication/receiverState.ts";
import { missing, type StateLogState } from "../core/replication/stateLog.ts";

export interface StandbyFacts {
  readonly role: Role;
  /** What heart hears of the peer's role; null: it does not hear it. */
  readonly heartsPeerRole: Role | null;
  readonly isConnected: boolean;
  /** How the last connection ended; null: there was none. */
  readonly lastEnding: string | null;
  /** Why the peer has another configuration; null where it has not. */
  readonly difference: string | null;
  readonly receiver: ReceiverState;
  readonly state: StateLogState;
}

/** Empty: ready. */
export function standbyReasons(facts: StandbyFacts): readonly string[] {
  const { role, heartsPeerRole, lastEnding, difference, receiver } = facts;
  const reasons: string[] = [];
  if (role !== "standby") reasons.push(`this node is ${role}`);
  if (!facts.isConnected) {
    reasons.push(`no replication connection to the peer${lastEnding === null ? "" : ` (${lastEnding})`}`);
    return reasons;
  }
  if (difference !== null) reasons.push(`the two nodes have different configurations: ${difference}`);
  if (receiver.peer !== null && receiver.peer.role !== "active") reasons.push("the peer is not active");
  else if (heartsPeerRole !== null && heartsPeerRole !== "active")
    reasons.push(`the peer's heart says ${heartsPeerRole}`);
  if (receiver.refused > 0) reasons.push(`${receiver.refused} sessions were refused by this node's kernel`);
  const unheard = missing(facts.state);
  if (unheard !== null) reasons.push(unheard);
  if (!isSynchronised(receiver) && receiver.refused === 0)
    reasons.push(`not synchronised (${receiverText(receiver)})`);
  return reasons;
}
