// One of each message of the configuration: the examples of docs/protocol.md §5.7.

import { sha256Hex } from "../../src/base/sha256.ts";
import { NO_VERSION, versionAfter } from "../../src/core/configVersions.ts";

const text = "version: 1\npair: office\n";
const content = new TextEncoder().encode(text);
const digest = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/** What both nodes began with. */
export const firstVersion = versionAfter(
  null,
  { digest, textDigest: sha256Hex(text), origin: "import", author: "", message: "", at: 1_795_187_161_000 },
  "a",
);
/** What somebody made of it. */
export const secondVersion = versionAfter(
  firstVersion,
  {
    digest: "20".repeat(32),
    textDigest: sha256Hex(text),
    origin: "apply",
    author: "eve",
    message: "a third link",
    at: 1_795_187_162_000,
  },
  "a",
);

export const configurationExamples = {
  configurationState: {
    kind: "configurationState",
    head: firstVersion,
    running: digest,
    pending: secondVersion.id,
    about: NO_VERSION,
    covers: false,
  },
  configurationPropose: {
    kind: "configurationPropose",
    exchange: 7,
    from: firstVersion.id,
    header: secondVersion,
    content,
  },
  configurationVerdict: {
    kind: "configurationVerdict",
    exchange: 7,
    accepted: false,
    reasons: ["pair.yaml:31:5: links[2].interface: expected an interface of this machine"],
  },
  configurationCommit: { kind: "configurationCommit", exchange: 7 },
  configurationDone: { kind: "configurationDone", exchange: 7, ok: true, reasons: [] },
  configurationFetch: { kind: "configurationFetch", id: firstVersion.id },
  configurationVersion: {
    kind: "configurationVersion",
    id: firstVersion.id,
    versions: [{ header: firstVersion, content }],
  },
} as const;
