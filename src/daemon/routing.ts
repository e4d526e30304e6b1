// Which part of replication a message of the peer's is for (docs/protocol.md §5.3). The receiver of the log takes what has to
// keep the log's order; everything else goes to its owner at once. It judges nothing.

import type { Role } from "../base/units.ts";
import type { ConfigMessage } from "../core/configLogState.ts";
import type { PeerMessage } from "../wire/peer.ts";
import type { Audit } from "./audit.ts";
import type { DrillMessage } from "./drill.ts";
import type { LogReceiver } from "./logReceiver.ts";
import type { LogSender } from "./logSender.ts";
import type { MergeTaker } from "./mergeTaker.ts";
import type { StateLog } from "./stateLog.ts";

export interface Destinations {
  readonly sender: LogSender;
  readonly taker: MergeTaker;
  readonly receiver: LogReceiver;
  readonly stateLog: StateLog;
  readonly configuration: {
    message(message: ConfigMessage): void;
    peerRole(role: Role): void;
  };
  readonly audit: Audit;
  /** Null: a replicator without a daemon around it. */
  readonly drill: { message(message: DrillMessage): void } | null;
  /** This node is. */
  readonly isActive: boolean;
  /** The peer does, by the version that is spoken. */
  readonly knowsRounds: boolean;
  readonly onChange: () => void;
}

export function route(message: PeerMessage, to: Destinations): void {
  switch (message.kind) {
    case "acknowledge":
      to.sender.input({ kind: "acknowledge", position: message.position });
      return;
    case "subscribe": {
      const subscription = { term: message.term, generation: message.generation };
      to.sender.input({ kind: "subscribe", subscription, own: message.own, knowsRounds: to.knowsRounds });
      return;
    }
    case "roundSwept":
      to.sender.input({ ...message, kind: "round-swept" });
      return;
    case "mergeEnd":
      to.taker.push(message);
      return;
    case "sessions":
      if (message.origin === "merge") to.taker.push(message);
      else to.receiver.push(message);
      return;
    case "slots":
    case "links":
    case "nodeFacts":
    case "stateAcknowledge":
      to.stateLog.input({ kind: "message", message });
      to.onChange();
      return;
    case "configurationState":
    case "configurationPropose":
    case "configurationVerdict":
    case "configurationCommit":
    case "configurationDone":
    case "configurationFetch":
    case "configurationVersion":
      to.configuration.message(message);
      return;
    case "drillReturn":
    case "drillAnswer":
    case "drillReport":
      to.drill?.message(message);
      return;
    case "roleChanged":
      to.configuration.peerRole(message.role);
      to.stateLog.input({ kind: "peer", peer: { role: message.role, term: message.term } });
      to.audit.peerChanged(message.role, message.term);
      to.receiver.push(message);
      return;
    case "auditFolded":
    case "auditDigests":
    case "auditKeys":
      to.audit.answered(message);
      return;
    case "auditVoid":
      if (to.isActive) to.audit.answered(message);
      else to.receiver.push(message);
      return;
    default:
      to.receiver.push(message);
  }
}
