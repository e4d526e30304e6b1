// FROZEN: protocol version 1 as it was spoken by version 0.1.0 of the program (commit 7a61dc6, paths shortened, nothing else). Never
// changed: today's code is tested against it (test/frozen), as against a node that was not upgraded yet.
//
// Limits: those that the frozen files ask for, as they were.

export const BATCH_BYTES_MAX = 64 * 1024;
export const BATCH_RECORDS_MAX = 2048;
export const CHANGED_KEYS_MAX = 1 << 22;
export const ENDED_KEYS_MAX = 1 << 20;
export const LOG_BYTES_MAX = 32 << 20;
export const MARK_GENERATION_MASK = 0x30000000;
export const MARK_LINK_MASK = 0x000000ff;
export const MERGE_WINDOW_BYTES = 256 * 1024;
export const MESSAGE_BYTES_MAX = 1 << 20;
export const NEIGHBOURS_PER_MESSAGE_MAX = 1024;
export const REFUSED_RETRY_MS_MAX = 60_000;
export const REFUSED_RETRY_MS_MIN = 5000;
export const RELIEVED_MS_MAX = 500;
export const SESSION_RECORD_BYTES_MAX = 256;
export const SESSION_TIMEOUT_SECONDS_MAX = 2_147_483;
export const SNAPSHOT_RESTART_PACE_MS = 250;
export const SNAPSHOT_WINDOW_BYTES = 256 * 1024;
export const SUBSCRIBE_RETRY_MS = 3000;
export const TEXT_BYTES_MAX = 512;
