// The secrets of TLS connections as a file of lines (SSLKEYLOGFILE: draft-ietf-tls-keylogfile): what a capture can be opened
// with afterwards. Whoever has it reads everything that those connections said, and nothing else.

/** The four secrets of one TLS 1.3 connection that its records are protected with (RFC 8446 §7.1). */
export interface TrafficSecrets {
  readonly clientHandshake: Uint8Array;
  readonly serverHandshake: Uint8Array;
  readonly clientTraffic: Uint8Array;
  readonly serverTraffic: Uint8Array;
}

const LABELS: Readonly<Record<string, keyof TrafficSecrets>> = {
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: "clientHandshake",
  SERVER_HANDSHAKE_TRAFFIC_SECRET: "serverHandshake",
  CLIENT_TRAFFIC_SECRET_0: "clientTraffic",
  SERVER_TRAFFIC_SECRET_0: "serverTraffic",
};
const LINE = /^([A-Z0-9_]+) ([0-9a-fA-F]{64}) ((?:[0-9a-fA-F]{2})+)$/;

/** Secrets by the client's random (64 lower-case hexadecimal digits), of connections of which all four are known. */
export type KeyLog = ReadonlyMap<string, TrafficSecrets>;

/**
 * Reads the text of a key log. `bad` counts lines that are neither empty, a comment nor a secret: a file of which every line is
 * bad is no key log. Secrets of other kinds (exporters, TLS 1.2) are passed over.
 */
export function parseKeyLog(text: string): { readonly keys: KeyLog; readonly bad: number } {
  const found = new Map<string, Partial<Record<keyof TrafficSecrets, Uint8Array>>>();
  let bad = 0;
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const parts = LINE.exec(line);
    if (parts === null) {
      bad += 1;
      continue;
    }
    const name = LABELS[parts[1]!];
    if (name === undefined) continue;
    const random = parts[2]!.toLowerCase();
    found.set(random, { ...found.get(random), [name]: new Uint8Array(Buffer.from(parts[3]!, "hex")) });
  }
  const names = Object.values(LABELS);
  const whole = [...found].filter(([, secrets]) => names.every((name) => secrets[name] !== undefined));
  return { keys: new Map(whole as [string, TrafficSecrets][]), bad };
}
