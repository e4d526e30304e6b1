// Where the laboratory's servers listen in its Internet: the one table that clients and servers share. Pure.

export const PORT_ECHO = 7;
export const PORT_DOWNLOAD = 80;
export const PORT_IDLE = 443;
/** Streams: echoes of short messages, by the thousand. */
export const PORT_STREAM = 8080;
export const PORT_PING = 5000;
/** UDP ports of the background sessions: from here on, as many as asked for. */
export const PORT_BACKGROUND = 20_000;
/** One port a kind of session, from here on (kinds.ts). */
export const PORT_KINDS = 30_000;

/** One message of an echo session, or one piece of a download, each: */
export const LIVE_INTERVAL_MS = 20;
export const DOWNLOAD_BYTES = 512;
