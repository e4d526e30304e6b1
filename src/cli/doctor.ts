// `understudy doctor`: gathers what can be seen of this node, has it judged, and draws the judgement. It changes
// nothing, and says "cannot be seen" where it may not look.

import { join } from "node:path";
import { checkMachine, readConfiguration } from "../admin/configFiles.ts";
import { controlAnswers } from "../admin/control.ts";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { HOP_LIMIT, PORT } from "../base/limits.ts";
import type { Config, PathConfig } from "../core/config.ts";
import { formatErrors } from "../core/configTree.ts";
import type { DoctorFacts, KeyFact, PathAttempt } from "../core/doctor/facts.ts";
import { isHealthy, judge } from "../core/doctor/judge.ts";
import { fingerprintOf, loadIdentity, parsePublicKey } from "../peer/identity.ts";
import { renderDoctor } from "../views/doctor.ts";
import { askDaemon, runtimeDirectoryOf } from "./ask.ts";
import { probeConntrack, probeFeatures, probeGate, probeTools } from "./doctorKernel.ts";
import { findListeners } from "./doctorListeners.ts";
import { listRemains } from "./doctorRemains.ts";
import { CommandFailure } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

const ATTEMPT_MS = 1000;
const ANSWER_MS = 5000;

/** The daemon's view of the pair, or why it cannot be had. */
async function askForView(nodeFile: string): Promise<DoctorFacts["daemon"]> {
  try {
    const answer = await askDaemon(nodeFile, { kind: "show", what: "pair" }, ANSWER_MS);
    return { mayAsk: true, answers: true, view: answer.kind === "pair" ? answer.view : null, words: "" };
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    const { words, code } = error.refusal;
    // One that refuses does answer.
    const mayAsk = error.exitCode !== ExitCode.NoPermission;
    return { mayAsk, answers: error.exitCode === ExitCode.Failed, view: null, words: words ?? code };
  }
}

function keyFact(config: Config): KeyFact {
  const { keyFile: file, ownKeys: listed } = config;
  const peer = config.peerKeys.flatMap((key) => {
    const raw = parsePublicKey(key);
    return raw === null ? [] : [fingerprintOf(raw)];
  });
  try {
    const { publicKey, fingerprint } = loadIdentity(file);
    return { file, publicKey, refusal: null, listed, fingerprints: { own: fingerprint, peer } };
  } catch (error) {
    if (!(error instanceof BoundaryError)) throw error;
    const words = `${error.operation}: ${error.words ?? error.code}`;
    const refusal = { words, advice: error.advice ?? "" };
    return { file, publicKey: null, refusal, listed, fingerprints: { own: null, peer } };
  }
}

/** One TCP connection to the peer over a path, with the hop limit that it asks for (RFC 5082), closed at once. */
async function attempt(path: PathConfig): Promise<PathAttempt> {
  const { name, local, remote, device } = path;
  const libc = await import("../kernel/libc.ts");
  const { socketAddress } = await import("../kernel/pathSocket.ts");
  const about = { name, local, remote };
  const to = socketAddress(remote, PORT);
  const v4 = to.length === 16;
  const fd = libc.socket(v4 ? libc.AF_INET : libc.AF_INET6, libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0);
  try {
    const [level, option] = v4 ? [libc.IPPROTO_IP, libc.IP_TTL] : [libc.IPPROTO_IPV6, libc.IPV6_UNICAST_HOPS];
    libc.setsockoptInt(fd, level, option, HOP_LIMIT, "set the hop limit");
    const interfaceName = new TextEncoder().encode(`${device}\0`);
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_BINDTODEVICE, interfaceName, `use ${device}`);
    libc.bind(fd, socketAddress(local, 0), `use ${local}`);
    try {
      libc.connect(fd, to);
    } catch (error) {
      if (!(error instanceof libc.KernelError) || error.code !== "EINPROGRESS") throw error;
    }
    const ready = await libc.pollAsync(libc.pollVector([fd], libc.POLLOUT), 1, ATTEMPT_MS);
    if (ready <= 0) return { ...about, connected: false, code: "ETIMEDOUT" };
    const result = libc.getsockoptInt(fd, libc.SOL_SOCKET, libc.SO_ERROR);
    return { ...about, connected: result === 0, code: result === 0 ? "" : libc.errnoName(result) };
  } catch (error) {
    if (!(error instanceof libc.KernelError)) throw error;
    return { ...about, connected: false, code: error.code };
  } finally {
    libc.close(fd);
  }
}

/** Looks at everything. */
export async function gather(nodeFile: string): Promise<DoctorFacts> {
  const read = readConfiguration(nodeFile);
  const config = read.ok ? read.config : null;
  const errors = read.ok ? checkMachine(read.config) : read.errors;
  const daemon = await askForView(nodeFile);
  const heartAnswers =
    config !== null
      ? await controlAnswers(join(config.runtimeDirectory, "heart.sock"))
      : daemon.view?.heart != null || (await answersIn(nodeFile));
  return {
    nodeFile,
    asRoot: process.getuid?.() === 0,
    configuration: config && { pair: config.pair, node: config.node, digest: config.digest },
    configurationErrors: formatErrors(errors).split("\n").filter(Boolean),
    key: config && keyFact(config),
    daemon,
    heartAnswers,
    listeners: findListeners(),
    attempts:
      !daemon.mayAsk || daemon.view?.heart || config === null
        ? []
        : await Promise.all(config.paths.map(attempt)),
    features: await probeFeatures(),
    gate: await probeGate(),
    tools: probeTools(),
    conntrack: probeConntrack(),
    remains: listRemains(),
  };
}

/** Whether heart answers where a node's file that does not hold as a whole still says where to look. */
async function answersIn(nodeFile: string): Promise<boolean> {
  try {
    return await controlAnswers(join(runtimeDirectoryOf(nodeFile), "heart.sock"));
  } catch (error) {
    if (error instanceof CommandFailure) return false;
    throw error;
  }
}

/** Prints the findings: `Ok` where nothing is wrong, else `Failed`. */
export async function doctor(
  options: { readonly node: string; readonly json: boolean },
  terminal: Terminal,
): Promise<ExitCode> {
  const findings = judge(await gather(options.node));
  const healthy = isHealthy(findings);
  if (options.json) terminal.out(`${JSON.stringify({ ok: healthy, findings })}\n`);
  else terminal.out(renderDoctor(findings, { style: terminal.style }));
  return healthy ? ExitCode.Ok : ExitCode.Failed;
}
