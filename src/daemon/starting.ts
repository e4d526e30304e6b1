// What is asked of a daemon before all of it is there. It decides nothing.

import { BoundaryError } from "../base/errors.ts";

/** `part`, which is null until this node has started. @throws BoundaryError STARTING */
export function started<T>(part: T | null | undefined, operation: string): T {
  if (part !== null && part !== undefined) return part;
  throw new BoundaryError({ operation, code: "STARTING", words: "this node is still starting" });
}
