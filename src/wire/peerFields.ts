// Fields that messages of port 1148 and heartbeats share (docs/protocol.md §2, §4, §5): who, in which role, where in the
// log. Tables use them; they know no table. Pure.

import { assert } from "../base/assert.ts";
import { type Field, oneOf, struct, u8, u48 } from "./codec.ts";

export const node = oneOf({ a: 1, b: 2 });
export const role = oneOf({ idle: 0, standby: 1, active: 2 });

/** A place in the log. Sequence numbers start at 1 with each term; (0, 0) is before everything. */
export const position = struct({ term: u48, sequence: u48 });

/** The standby's number for its subscription, 1..3 in turn: tells the answers to it from those to earlier ones. */
export const generation: Field<number> = {
  ...u8,
  type: "u8: 1, 2 or 3",
  write: (writer, value) => {
    assert(value >= 1 && value <= 3, `generation ${value}`);
    u8.write(writer, value);
  },
  read: (reader) => {
    const at = reader.offset;
    const value = u8.read(reader);
    if (reader.refusal === null && (value < 1 || value > 3)) reader.refuse(`generation ${value}`, at);
    return value;
  },
};
