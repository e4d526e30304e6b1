// What the command line and the daemon say to each other about the configuration (control.sock): versions, and what became of
// an order to put one into force, node by node. Types only; pure.

import type { NodeId } from "../base/units.ts";
import type { VersionHeader } from "./messagesConfiguration.ts";

/** What became of a version on one node. */
export type PlaceState =
  | "in-force"
  /** As before: nothing was changed, or everything was put back. */
  | "unchanged"
  /** The node does not take it: a mistake in it, or the machine is not as it says. Nothing was changed. */
  | "refused"
  /** It was taken into effect, and the kernel or a process refused; everything was put back. */
  | "failed"
  /** Not connected: it gets it when it is back. */
  | "absent"
  /** Its software is of a protocol version that does not carry the configuration. */
  | "old-protocol"
  /** The connection was lost, or no answer came, after it was told to take it. */
  | "unconfirmed";

export interface Place {
  readonly node: NodeId;
  readonly state: PlaceState;
  /** Why; empty where there is nothing to add. */
  readonly words: readonly string[];
}

export interface ApplyReport {
  /** `done`: in force on both; `partly`: here alone; `unchanged`: it was in force already; else it is not in force here. */
  readonly outcome: "done" | "partly" | "unchanged" | "refused" | "failed";
  /** Null where it never became one. */
  readonly version: VersionHeader | null;
  /** What it changes, in words. */
  readonly changes: readonly string[];
  /** This node, then the other one. */
  readonly places: readonly [Place, Place];
}

/** How the two nodes' configurations stand to each other. */
export interface PairConfigurationView {
  readonly node: NodeId;
  readonly head: VersionHeader;
  /** A version that is in effect here and waits for the leader's word, or is being applied. */
  readonly pending: VersionHeader | null;
  /** The other node's version in force; null where it is not connected, or of an old protocol. */
  readonly peer: VersionHeader | null;
  /** Why they differ, in words; null where both run with the same, or the other one is not connected. */
  readonly difference: string | null;
  /** The pair's file on disk: what a start would read. */
  readonly file: string;
}

export interface ConfigurationVersionView {
  readonly header: VersionHeader;
  readonly text: string;
}

/** One line of `show config --versions`. */
export interface ConfigurationVersionLine {
  readonly header: VersionHeader;
  readonly inForce: boolean;
  /** Of the chain that led to the version in force; else it is named by its id alone. */
  readonly inChain: boolean;
}
