// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// A place in the log, as the machines name it.

/** A place in the log: sequence numbers start at 1 with each term. */
export interface Position {
  readonly term: number;
  readonly sequence: number;
}
