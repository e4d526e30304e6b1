// What a node of the log simulator is told by its world, and what two nodes say to each other.

import type { Role } from "../../src/base/units.ts";
import type { ReceiverEffect } from "../../src/core/replication/receiverState.ts";
import type { SenderEffect, SenderLimits } from "../../src/core/replication/senderState.ts";
import type { Mutation } from "./logMutations.ts";
import type { Change } from "./logRecords.ts";
import type { Random } from "./random.ts";

export type SimMessage =
  | { readonly kind: "role"; readonly role: Role; readonly term: number }
  | Extract<
      ReceiverEffect,
      { kind: "subscribe" | "acknowledge" | "merge-sessions" | "merge-end" | "round-swept" }
    >
  | Exclude<SenderEffect, { kind: "tell-role" | "fail" | "insert" }>;

export interface NodeOptions {
  readonly name: "a" | "b";
  readonly version: 1 | 2;
  readonly random: Random;
  readonly mutation: Mutation | null;
  readonly limits: SenderLimits;
  readonly keysMax: number;
  readonly eventsMax: number;
  readonly chunkRecords: number;
  readonly sliceRecords: number;
  /** The version that the connection speaks. */
  readonly spoken: () => number;
  readonly send: (message: SimMessage) => void;
  /** A machine asked for the end of the connection: in an honest world a defect. */
  readonly fail: (reason: string) => void;
  /** A record was numbered and sent. */
  readonly logged: (sequence: number, change: Change) => void;
  /** This node's receiver acknowledges, now. */
  readonly acknowledges: (position: { readonly term: number; readonly sequence: number }) => void;
  /** A record of a merge was added to this node's kernel. */
  readonly inserted: (id: number) => void;
  /** A session of this node's has reached the end of its time. */
  readonly expired: (id: number, heard: boolean) => void;
}
