// Every kind of session that a scenario can put through the pair, what happens in it, and what is promised for it when
// the active dies and when it hands over. The one table of it: docs/laboratory.md shows it, the scenarios `kinds` and
// `kinds-handover` hold the pair to it, in both directions (what is said to die, and lives, is wrong as well). Pure.

import { round, STALL_MAX_MS } from "./traffic/survival.ts";

/** What becomes of a session of a kind. */
export type Promised =
  | { readonly is: "survives" }
  /** It goes on after a silence that a user notices. */
  | { readonly is: "stalls"; readonly maxMs: number }
  | { readonly is: "dies" };

export type KindFault = "crash" | "handover";

export interface KindSpec {
  /** What happens in it, for a reader. */
  readonly about: string;
  /** Opened right before the fault, not seconds earlier. */
  readonly late?: true;
  /** Needs this helper of connection tracking (`helpers` in the pair's file). */
  readonly helper?: string;
  /** A call is set up for each session first. */
  readonly call?: true;
  readonly crash: Promised;
  readonly handover: Promised;
}

const SURVIVES = { is: "survives" } as const;
const DIES = { is: "dies" } as const;
/** The first SYN finds no answer, whatever becomes of the pair; Linux sends the next ones a second apart (tcp_syn_linear_timeouts). */
const OPENS_LATE = { is: "stalls", maxMs: 4000 } as const;

const SPECS = {
  "tcp-echo": { about: "TCP, both sides talk", crash: SURVIVES, handover: SURVIVES },
  "tcp-download": { about: "TCP, only the far side talks", crash: SURVIVES, handover: SURVIVES },
  "tcp-idle": {
    about: "TCP, silent since before the fault; then the far side speaks first",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  "tcp-syn-sent": {
    about: "TCP, half open: the SYN was lost beyond the pair before the fault",
    late: true,
    crash: OPENS_LATE,
    handover: OPENS_LATE,
  },
  "tcp-syn-received": {
    about: "TCP, half open: the answer to the SYN was lost on the LAN before the fault",
    late: true,
    crash: OPENS_LATE,
    handover: OPENS_LATE,
  },
  "udp-both": { about: "UDP, both sides talk (assured)", crash: SURVIVES, handover: SURVIVES },
  "udp-fresh": {
    about: "UDP, one question and one answer right before the fault; then only the far side talks",
    late: true,
    crash: SURVIVES,
    handover: SURVIVES,
  },
  "udp-upload": { about: "UDP, only the near side ever talks", crash: SURVIVES, handover: SURVIVES },
  "udp-download": {
    about: "UDP, one question, then only the far side talks",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  "udp-unanswered": {
    about: "UDP, one question right before the fault, which is answered only after it and never asked again",
    late: true,
    crash: DIES,
    handover: DIES,
  },
  udplite: {
    about: "UDP-Lite, both sides talk (needs net.netfilter.nf_conntrack_checksum=0)",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  icmp: { about: "ICMP, a ping that goes on", crash: SURVIVES, handover: SURVIVES },
  sctp: { about: "SCTP, both sides talk", crash: SURVIVES, handover: SURVIVES },
  gre: { about: "GRE (protocol 47), both sides talk", crash: SURVIVES, handover: SURVIVES },
  esp: { about: "ESP (protocol 50), both sides talk", crash: SURVIVES, handover: SURVIVES },
  "ip-253": { about: "IP protocol 253, both sides talk", crash: SURVIVES, handover: SURVIVES },
  "ftp-control": {
    about: "FTP, both sides talk over the control connection, behind a PORT (or EPRT) that was rewritten",
    helper: "ftp",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  "ftp-data": {
    about: "FTP, a file comes over an active data connection",
    helper: "ftp",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  "ftp-expected": {
    about: "FTP, PORT before the fault; the server opens the data connection after it",
    helper: "ftp",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  "ftp-after": {
    about: "FTP, the control connection before the fault; PORT and the data connection after it",
    helper: "ftp",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  tftp: {
    about: "TFTP, a file comes from another port than it was asked for at",
    helper: "tftp",
    crash: SURVIVES,
    handover: SURVIVES,
  },
  voice: {
    about: "SIP (SIPp), a call that is on: RTP both ways, to where the words say",
    helper: "sip",
    call: true,
    crash: SURVIVES,
    handover: SURVIVES,
  },
  "voice-expected": {
    about: "SIP (SIPp), a call that was set up before the fault; RTP begins after it, from the far side",
    helper: "sip",
    call: true,
    crash: SURVIVES,
    handover: SURVIVES,
  },
} as const satisfies Readonly<Record<string, KindSpec>>;

export type KindName = keyof typeof SPECS;
export const KINDS = Object.keys(SPECS) as readonly KindName[];
export const kindOf = (name: KindName): KindSpec => SPECS[name];

/** One session as its two ends saw it since the fault. */
export interface KindSession {
  readonly kind: KindName;
  readonly family: 4 | 6;
  readonly host: string;
  readonly opened: boolean;
  /** Null: nothing speaks against it but silence. */
  readonly failure: string | null;
  /** Longest silence since the fault, the one that lasts included. */
  readonly stallMs: number;
  /** The silence that lasts. */
  readonly silentMs: number;
  /** From the first to the last right message since the fault. */
  readonly movedMs: number;
}

/** What became of one session: in the words of the promise, and why where it died. */
export interface Fate {
  readonly is: Promised["is"];
  readonly stallMs: number;
  readonly why: string | null;
}

/** Right messages must have come for this long after the fault. */
const MOVES_AT_LEAST_MS = 1000;

export function fateOf(session: KindSession): Fate {
  const stallMs = round(session.stallMs);
  const dead = (why: string): Fate => ({ is: "dies", stallMs, why });
  if (session.failure !== null) return dead(session.failure);
  if (!session.opened) return dead("never opened");
  if (session.silentMs > STALL_MAX_MS) return dead("silent ever since");
  if (session.movedMs < MOVES_AT_LEAST_MS) return dead(`spoke for less than ${MOVES_AT_LEAST_MS} ms`);
  return { is: session.stallMs > STALL_MAX_MS ? "stalls" : "survives", stallMs, why: null };
}

/** All sessions of one kind over one family: what the worst of them went through. */
export interface KindCell {
  readonly kind: KindName;
  readonly family: 4 | 6;
  readonly fault: KindFault;
  readonly sessions: number;
  readonly promised: Promised;
  /** Null: it could not be made on this machine. */
  readonly found: Fate | null;
  /** Why it could not be made. */
  readonly skipped: string | null;
  /** What speaks against it whatever the time it took. */
  readonly wrong: readonly string[];
  /** What took longer than was promised. */
  readonly late: readonly string[];
}

const RANK: Readonly<Record<Promised["is"], number>> = { survives: 0, stalls: 1, dies: 2 };

/** @param sessions All of one kind and family; at least one. */
export function cellOf(sessions: readonly KindSession[], fault: KindFault): KindCell {
  const { kind, family } = sessions[0]!;
  const promised = kindOf(kind)[fault];
  const fates = sessions.map(fateOf);
  const worst = fates.reduce((one, other) =>
    RANK[other.is] > RANK[one.is] || (other.is === one.is && other.stallMs > one.stallMs) ? other : one,
  );
  const name = `${kind} over IPv${family}`;
  const wrong: string[] = [];
  const late: string[] = [];
  for (const [index, fate] of fates.entries()) {
    const who = `${name} (${sessions[index]!.host})`;
    if ((fate.is === "dies") !== (promised.is === "dies"))
      wrong.push(`${who} ${describe(fate)}; promised: ${describePromise(promised)}`);
    else if (promised.is === "stalls" && fate.is === "survives")
      wrong.push(`${who} went on without a stall; promised: ${describePromise(promised)}`);
    else if (
      fate.is === "stalls" &&
      fate.stallMs > (promised.is === "stalls" ? promised.maxMs : STALL_MAX_MS)
    )
      late.push(`${who} ${describe(fate)}; promised: ${describePromise(promised)}`);
  }
  return {
    kind,
    family,
    fault,
    sessions: sessions.length,
    promised,
    found: worst,
    skipped: null,
    wrong,
    late,
  };
}

/** A cell that this machine cannot play. */
export const skippedCell = (kind: KindName, family: 4 | 6, fault: KindFault, why: string): KindCell => ({
  kind,
  family,
  fault,
  sessions: 0,
  promised: kindOf(kind)[fault],
  found: null,
  skipped: why,
  wrong: [],
  late: [],
});

function describe(fate: Fate): string {
  if (fate.is === "dies") return `dies: ${fate.why}`;
  return fate.is === "stalls" ? `stalls ${fate.stallMs} ms` : `survives (${fate.stallMs} ms)`;
}

export function describePromise(promised: Promised): string {
  return promised.is === "stalls" ? `stalls, at most ${promised.maxMs / 1000} s` : promised.is;
}

/** The table for a reader: one line a cell. */
export function kindLines(cells: readonly KindCell[]): readonly string[] {
  return cells.map(({ kind, family, fault, found, skipped, sessions }) => {
    const name = `${kind.padEnd(17)} IPv${family}  ${fault.padEnd(8)}`;
    return found === null ? `${name}  not played: ${skipped}` : `${name}  ${describe(found)}  [${sessions}]`;
  });
}

/** The rows of the table in docs/laboratory.md. */
export function promiseRows(): readonly string[] {
  return KINDS.map((name) => {
    const { about, crash, handover } = kindOf(name);
    return `| ${name} | ${about} | ${describePromise(crash)} | ${describePromise(handover)} |`;
  });
}
