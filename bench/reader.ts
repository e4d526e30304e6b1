// The floor under every reader of session events, as a process of its own: it reads them as the daemon does (one filter, one
// call for many) and does nothing with them. Run inside the node's namespace, until it is killed.

import { SESSION_EVENT_BYTES_MAX, SESSION_EVENTS_PER_READ } from "../src/base/limits.ts";
import * as libc from "../src/kernel/libc.ts";
import { openSessionEvents } from "../src/kernel/sessionEvents.ts";

const { fd } = openSessionEvents();
const vector = libc.messageVector(SESSION_EVENTS_PER_READ, SESSION_EVENT_BYTES_MAX);
const descriptors = libc.pollVector([fd]);
/** A reader that wakes for each event pays for waking (5 us a session, measured); the daemon takes what has gathered. */
const GATHER_MS = 1;
for (;;) {
  libc.poll(descriptors, 1, 1000);
  libc.poll(descriptors, 0, GATHER_MS);
  while (libc.recvmmsg(fd, vector.headers, SESSION_EVENTS_PER_READ, libc.MSG_DONTWAIT) > 0);
}
