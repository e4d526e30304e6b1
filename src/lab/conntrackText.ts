// The kernel's session table as `conntrack -L -o extended` prints it, and how two such tables differ. The oracle of the
// laboratory: it shares no line with what the daemons use to read, write or compare sessions. Pure.

/** Bits 28-31 are flags, and no part of any comparison. */
const COMPARED_MARK = 0x0fffffff;
export const LINK_MARK = 0xff;

/** Key (protocol and original direction) -> all else that must be equal. */
export type Table = Map<string, Entry>;

export interface Entry {
  /** Reply direction: the translation. */
  readonly reply: string;
  /** Without flags. */
  readonly mark: number;
  /** Protocol state, and how far the conversation got: `ESTABLISHED [ASSURED]`. */
  readonly state: string;
}

/**
 * Puts one line into `table` where it is a session of the pair (its mark has a link) that is settled: what is half
 * open is not replicated, by policy (replication §4).
 */
export function takeLine(table: Table, line: string): void {
  const first = line.indexOf("src=");
  const second = line.indexOf("src=", first + 4);
  const markAt = line.indexOf("mark=", second);
  if (first < 0 || second < 0 || markAt < 0) return;
  const mark = Number.parseInt(line.slice(markAt + 5), 10);
  if ((mark & LINK_MARK) === 0) return;
  const head = line.slice(0, first).trim().split(/\s+/);
  // ipv4 2 tcp 6 431999 ESTABLISHED src=...
  const [family, , name, number, , protocolState = ""] = head;
  // `conntrack` knows no more than some protocols by name.
  const protocol = name === "unknown" ? `unknown-${number}` : name;
  const forward = line.slice(first, second);
  const backward = line.slice(second, markAt);
  const unreplied = forward.includes("[UNREPLIED]");
  if (unreplied || protocolState === "SYN_SENT" || protocolState === "SYN_RECV") return;
  const assured = backward.includes("[ASSURED]") ? " [ASSURED]" : "";
  table.set(`${family} ${protocol} ${tuple(forward)}`, {
    reply: tuple(backward),
    mark: (mark & COMPARED_MARK) >>> 0,
    state: `${protocolState}${assured}`,
  });
}

/** Addresses, ports, identifiers: not counters, not brackets. */
function tuple(text: string): string {
  let end = text.length;
  const bracket = text.indexOf("[");
  if (bracket >= 0) end = bracket;
  const counters = text.indexOf("packets=");
  if (counters >= 0 && counters < end) end = counters;
  return text.slice(0, end).trimEnd();
}

export interface Difference {
  /** On the active, not on the standby. */
  readonly missing: number;
  /** On the standby, not on the active. */
  readonly extra: number;
  /** On both, and not the same. */
  readonly wrong: number;
  /** A few of them, for a reader. */
  readonly samples: readonly string[];
}

const SAMPLES_MAX = 10;

/** What the standby's table lacks, has too much, or has wrong. */
export function compareTables(active: Table, standby: Table): Difference {
  const samples: string[] = [];
  const note = (text: string): void => {
    if (samples.length < SAMPLES_MAX) samples.push(text);
  };
  let [missing, wrong, common] = [0, 0, 0];
  for (const [key, entry] of active) {
    const other = standby.get(key);
    if (other === undefined) {
      missing += 1;
      note(`missing ${key} ${describe(entry)}`);
      continue;
    }
    common += 1;
    if (isSame(other, entry)) continue;
    wrong += 1;
    note(`wrong ${key}: active ${describe(entry)}, standby ${describe(other)}`);
  }
  const extra = standby.size - common;
  if (extra > 0)
    for (const [key, entry] of standby) if (!active.has(key)) note(`extra ${key} ${describe(entry)}`);
  return { missing, extra, wrong, samples };
}

/**
 * Compares with an active that goes on changing: its table was read before and after the standby's. What was not the
 * same in both readings has changed meanwhile, and is no difference, whatever the standby has.
 */
export function compareBetween(before: Table, standby: Table, after: Table): Difference {
  const settled: Table = new Map();
  for (const [key, entry] of before) {
    const later = after.get(key);
    if (later !== undefined && isSame(entry, later)) settled.set(key, entry);
  }
  const judged: Table = new Map();
  for (const [key, entry] of standby)
    if (settled.has(key) || (!before.has(key) && !after.has(key))) judged.set(key, entry);
  return compareTables(settled, judged);
}

const isSame = (one: Entry, other: Entry): boolean =>
  one.reply === other.reply && one.mark === other.mark && one.state === other.state;

const describe = (entry: Entry): string => `${entry.reply} mark ${entry.mark} ${entry.state}`.trimEnd();

export const isEqual = (difference: Difference): boolean =>
  difference.missing + difference.extra + difference.wrong === 0;

/** The link that a session's mark names. */
export const linkOf = (entry: Entry): number => entry.mark & LINK_MARK;
