// Calls over SIP, made by SIPp (a program of others, from the package sip-tester): a caller on the LAN, a called one in the
// Internet. What the called one was told about where to send the voice is what connection tracking's helper made of it; the
// voice itself is somebody else's (traffic/rtpChannel.ts).

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalAddress } from "../base/addresses.ts";
import { LITTLE_ENDIAN } from "../kernel/libc.ts";
import { readSocketTable } from "../wire/procNet.ts";
import { until } from "./clock.ts";
import { enter } from "./commands.ts";
import type { World } from "./world.ts";

export const SIPP = { program: "sipp", debianPackage: "sip-tester" } as const;

export interface CallPlace {
  readonly nearPid: number;
  readonly near: string;
  readonly farPid: number;
  readonly far: string;
  /** Where either end wants to be sent the voice, as it says itself. */
  readonly nearPort: number;
  readonly farPort: number;
  /** The caller's own port for SIP; the called one's is SIP's. */
  readonly sipPort: number;
}

export interface Call {
  /** Where the called one was told to send the voice. */
  readonly announced: { readonly address: string; readonly port: number };
  /** Exit code of the caller: 0 where the call was ended with BYE, and that was answered. */
  readonly ended: Promise<number>;
  stop(): void;
}

const SIP_PORT = 5060;
/** SIPp wants a port for voice of its own, which nobody speaks to. */
const UNUSED_MEDIA_PORT = 62_000;
const SET_UP_TIMEOUT_MS = 8000;
const ERROR_CHARACTERS_MAX = 300;

const message = (...lines: readonly string[]): string => `<![CDATA[\n\n${lines.join("\n")}\n\n]]>`;
const sdp = (who: string): readonly string[] => [
  "Content-Type: application/sdp",
  "Content-Length: [len]",
  "",
  "v=0",
  `o=${who} 1 1 IN IP[local_ip_type] [own_ip]`,
  "s=-",
  // SIPp's own word for it has brackets around an IPv6 address, which are no part of SDP.
  "c=IN IP[local_ip_type] [own_ip]",
  "t=0 0",
  "m=audio [rtp_port] RTP/AVP 0",
  "a=rtpmap:0 PCMU/8000",
];
const ours = (method: string, uri: string, sequence: number, ...more: readonly string[]): string =>
  message(
    `${method} ${uri} SIP/2.0`,
    "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
    "From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]caller[call_number]",
    `To: <sip:called@[remote_ip]:[remote_port]>${method === "INVITE" ? "" : "[peer_tag_param]"}`,
    "Call-ID: [call_id]",
    `CSeq: ${sequence} ${method === "ACK" ? "ACK" : method}`,
    "Contact: <sip:caller@[local_ip]:[local_port]>",
    "Max-Forwards: 70",
    ...(more.length > 0 ? more : ["Content-Length: 0"]),
  );
const reply = (status: string, tag: string, ...more: readonly string[]): string =>
  message(
    `SIP/2.0 ${status}`,
    "[last_Via:]",
    "[last_From:]",
    `[last_To:]${tag}`,
    "[last_Call-ID:]",
    "[last_CSeq:]",
    "Contact: <sip:called@[local_ip]:[local_port]>",
    ...(more.length > 0 ? more : ["Content-Length: 0"]),
  );

const HEAD = '<?xml version="1.0" encoding="UTF-8" ?>';
const CALLER = `${HEAD}
<scenario name="caller">
<send retrans="500">${ours("INVITE", "sip:called@[remote_ip]:[remote_port]", 1, ...sdp("caller"))}</send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true"/>
<send>${ours("ACK", "[next_url]", 1)}</send>
<pause/>
<send retrans="500">${ours("BYE", "[next_url]", 2)}</send>
<recv response="200"/>
</scenario>
`;
const TAG = ";tag=[pid]called[call_number]";
const CALLED = `${HEAD}
<scenario name="called">
<recv request="INVITE" crlf="true"><action>
<ereg regexp="c=IN IP[46] ([0-9a-fA-F.:]+)" search_in="body" check_it="true" assign_to="1,2"/>
<ereg regexp="m=audio ([0-9]+)" search_in="body" check_it="true" assign_to="3,4"/>
<log message="announced [$2] [$4]"/>
</action></recv>
<Reference variables="1,3"/>
<send>${reply("180 Ringing", TAG)}</send>
<send retrans="500">${reply("200 OK", TAG, ...sdp("called"))}</send>
<recv request="ACK" crlf="true"/>
<recv request="BYE"/>
<send>${reply("200 OK", "")}</send>
</scenario>
`;

/**
 * Sets up one call, which is ended by its caller after `lastsMs`.
 * @returns Null where the called one never answered; with the callers' own words on `problems`.
 */
export async function startCall(
  world: World,
  place: CallPlace,
  lastsMs: number,
  problems: string[],
): Promise<Call | null> {
  const name = join(world.directory, `call-${place.nearPid}-${place.farPort}`);
  // Of its own: another call's may be read while it is written.
  const [callerFile, calledFile] = [`${name}-caller.xml`, `${name}-called.xml`];
  writeFileSync(callerFile, CALLER);
  writeFileSync(calledFile, CALLED);
  const bracketed = (address: string): string => (address.includes(":") ? `[${address}]` : address);
  const start = (pid: number, words: readonly string[]): ChildProcess => {
    const [program, ...args] = enter(pid, [SIPP.program, ...words, "-m", "1", "-nostdin"]);
    const child = spawn(program!, args, {
      stdio: "ignore",
      env: { ...world.environment, TERM: "xterm" },
      cwd: world.directory,
      detached: true,
    });
    child.on("error", (error) => problems.push(`${SIPP.program}: ${error.message}`));
    return child;
  };
  const common = (address: string, sipPort: number, port: number): readonly string[] => [
    ...["-i", bracketed(address), "-p", String(sipPort), "-mp", String(UNUSED_MEDIA_PORT + (port % 1000))],
    ...["-key", "rtp_port", String(port), "-key", "own_ip", address],
  ];
  const log = `${name}.log`;
  const called = start(place.farPid, [
    ...[
      "-sf",
      calledFile,
      "-trace_logs",
      "-log_file",
      log,
      "-trace_err",
      "-error_file",
      `${name}-called.err`,
    ],
    ...common(place.far, SIP_PORT, place.farPort),
  ]);
  // A caller whose first word finds nobody gives up.
  await until(SET_UP_TIMEOUT_MS, 20, () => isBound(place.farPid, place.far, SIP_PORT) || null);
  const caller = start(place.nearPid, [
    `${bracketed(place.far)}:${SIP_PORT}`,
    ...["-sf", callerFile, "-d", String(lastsMs), "-trace_err", "-error_file", `${name}.err`],
    ...common(place.near, place.sipPort, place.nearPort),
  ]);
  const ended = new Promise<number>((resolve) => caller.once("exit", (code) => resolve(code ?? 128)));
  const stop = (): void => {
    for (const child of [caller, called]) child.kill("SIGKILL");
  };
  const announced = await until(SET_UP_TIMEOUT_MS, 50, () =>
    parseAnnounced(existsSync(log) ? readFileSync(log, "utf8") : ""),
  );
  if (announced !== null) return { announced, ended, stop };
  stop();
  const words = [`${name}.err`, `${name}-called.err`]
    .map((file) => (existsSync(file) ? readFileSync(file, "utf8").trim().slice(0, ERROR_CHARACTERS_MAX) : ""))
    .filter((text) => text !== "");
  const ends = [`caller ${caller.exitCode ?? "runs"}`, `called ${called.exitCode ?? "runs"}`];
  problems.push(`the call from ${place.near} was not answered: ${[...ends, ...words].join("; ")}`);
  return null;
}

/** Whether a process in that namespace has a UDP socket at this address. */
function isBound(pid: number, address: string, port: number): boolean {
  const table = readFileSync(`/proc/${pid}/net/udp${address.includes(":") ? "6" : ""}`, "latin1");
  const wanted = canonicalAddress(address);
  return readSocketTable(table, LITTLE_ENDIAN).some((row) => row.address === wanted && row.port === port);
}

/** What the called one has written down. */
export function parseAnnounced(text: string): { address: string; port: number } | null {
  const [, address, port] = /announced ([0-9a-fA-F.:]+) (\d+)/.exec(text) ?? [];
  return address === undefined ? null : { address, port: Number(port) };
}
