// A message of the log simulator in a line, for the trace of a seed that fails.

import type { SimMessage } from "./logOptions.ts";
import { changesIn } from "./logRecords.ts";

export function describeMessage(message: SimMessage): string {
  switch (message.kind) {
    case "role":
      return `${message.role} in term ${message.term}`;
    case "subscribe":
      return `subscribe ${message.subscription.term} generation ${message.subscription.generation}${message.own ? " own" : ""}`;
    case "sessions":
    case "merge-sessions": {
      const records = changesIn(message.bytes, message.count).map(
        ({ operation, id, version, seconds }) => `${operation} ${id} v${version} ${seconds} s`,
      );
      const origin = message.kind === "sessions" && message.read ? "read" : message.kind;
      return `${origin} from ${message.first.sequence}: ${records.join(", ")}`;
    }
    case "round-due":
      return message.kind;
    case "merge-request":
      return `merge-request generation ${message.subscription.generation}`;
    case "merge-end":
      return `merge-end of ${message.count}`;
    case "merge-acknowledge":
      return `merge-acknowledge ${message.sequence}`;
    default:
      return `${message.kind} ${message.position.term}/${message.position.sequence}`;
  }
}
