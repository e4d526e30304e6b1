// What a refresh does to a record of the dump (docs/protocol.md §5.5): a create becomes an update, which asks the standby's
// kernel once instead of twice, and says the same. Beside session.ts, because nobody else changes a record. Pure.

import { isExpectation } from "./expectation.ts";
import { HEAD_OPERATION, readRecord, SessionOperation } from "./session.ts";
import { SessionFields } from "./sessionFields.ts";

const scratch = new SessionFields();

/**
 * Makes the valid record at `offset` an update where it is a create; its layout is the same (§9.3). Returns the seconds
 * until its session expires.
 */
export function refreshRecord(bytes: Uint8Array, offset: number): number {
  // It has no update, and lives for minutes: said again as it is, in every refresh.
  if (isExpectation(bytes, offset)) return 0;
  readRecord(bytes, offset, scratch);
  if (scratch.operation === SessionOperation.Create)
    bytes[offset] = (bytes[offset]! & ~HEAD_OPERATION) | SessionOperation.Update;
  return scratch.timeoutSeconds;
}
