// docs/configuration.md, made from the tables of keys and the rules: what is documented is what is checked. Only
// the prose around the tables is written here. Pure: text out.

import { NODE, PAIR } from "./configKeys.ts";
import { NODE_RULES, PAIR_RULES, type Rule } from "./configRules.ts";
import { countWords, type Keys, type MapSpec, type Spec } from "./configSpec.ts";
import { HELPER_NAMES, HELPERS, type HelperName } from "./helpers.ts";

/** A whole pair's file for the documentation, and for the tests: it must hold. */
export const PAIR_EXAMPLE = `version: 1
pair: office
nodes:                            # each node's own key: understudy keygen
  a: { keys: ["ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="], priority: 100 }
  b: { keys: ["ed25519:PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="] }
lan:
  interface: lan
  addresses: [10.20.0.1/16, fd20::1/64]
  witnesses: [10.20.1.1]
  routes: [{ network: 10.30.0.0/16, via: 10.20.0.254 }]
links:
  - id: 1
    name: fibre
    interface: wan1
    gateway: [198.51.100.1, fe80::1]
    addresses: [198.51.100.2/24, 2001:db8:1::2/64]
    weight: 3
    capacity: { up: 100M, down: 1G }
  - id: 2
    name: cable
    interface: wan2
    gateway: 203.0.113.1
    addresses: [203.0.113.2/24]
    capacity: { up: 20M, down: 400M }
paths:                            # in order of preference
  - { name: sync, interface: sync, a: 10.255.0.1, b: 10.255.0.2 }
  - { name: lan, interface: lan, a: 10.20.0.2, b: 10.20.0.3 }
`;

export const NODE_EXAMPLE = `node: a
pair: pair.yaml
interfaces: { lan: eth0, wan1: eth1, wan2: eth2, sync: eth3 }
key: node.key
`;

const INTRODUCTION = `# Configuration

<!-- Made from the table of keys in src/core/configKeys.ts; a test holds it equal. Run that test with REWRITE=1 in the
     environment to make it again. -->

A pair has one file, the same on both nodes, and each node a few lines of its own. \`understudy check FILE...\` reads
either and names every mistake at once, each with its line, its column, what was expected and what was found:

\`\`\`
pair.yaml:16:14: links[0].gateway: expected an address in 198.51.100.0/24, found 198.51.101.1
pair.yaml:18:5: links[0].wieght: expected "weight" or another key of a link, found the unknown key "wieght"
\`\`\`

Both files are YAML 1.2: no aliases, no merge keys, each key once. Editors complete and check them with
[understudy-pair.schema.json](understudy-pair.schema.json) and [understudy-node.schema.json](understudy-node.schema.json),
for example through a first line of \`# yaml-language-server: $schema=understudy-pair.schema.json\`.

A running pair compares digests of its configuration: SHA-256 over the pair's file with its defaults put in and its spelling
made canonical, so that comments, the order of keys and of links, and defaults written out make no difference. A standby whose
digest differs is not ready. A changed pair's file is put into force on both nodes by \`understudy apply FILE\` on the active
([operations](operations.md), §7), which keeps every version.
`;

const DERIVED = `## What is derived from the pair's name

- The virtual MAC of a segment without \`virtualMac\`: \`02:\` and the first five bytes of the SHA-256 of the text
  \`understudy virtual-mac PAIR ID\`, with the link's id, or 0 for the LAN:
  \`printf 'understudy virtual-mac office 0' | sha256sum\`.
- The seed of placement without \`placement.seed\`: the first four bytes of the SHA-256 of \`understudy placement PAIR\`, as a
  number with its highest byte first.

Two pairs on one segment therefore need two names, and a pair that is renamed gets other MAC addresses: the neighbours learn
them within moments, but rename it when nobody is working.
`;

const REPLICATED = `## What replication costs, and what an exception saves

A session's record has about 28 bytes (48 for IPv6), its end half of that. Making and sending one costs the active about 4 us of
processor time, applying it the standby about 5 us; no packet waits for either. What a record buys is that the session is in the
standby's kernel before it is needed; what is not there is placed again when its next packet comes from the LAN, to the same link
and, where it is free, the same port. So the question of each setting is: what is lost that this does not mend?

| setting | records of a session | what a takeover does to what is not sent yet |
| --- | --- | --- |
| \`tcp: established\` (default) | one, one for each state on its way out, its end | half open: the client's SYN comes again after a second, and the connection is made: it stalls, it is not lost |
| \`tcp: syn-received\` | one more | only the SYN itself is said again |
| \`tcp: opening\` | two more | nothing; but a flood of SYNs is a flood of records, for the standby too |
| \`udp: reply\` (default) | one, one after two seconds, its end | unanswered: the next packet places it again |
| \`udp: assured\` | one, its end; of short exchanges none | a call younger than two seconds in which only the far side talks is lost |
| \`udp: first-packet\` | two, three from two seconds on, its end | nothing; but a scan of a network is a flood of records |
| \`others: reply\` (default) | one, its end | as UDP |
| \`others: first-packet\` | two, its end | nothing |

Everything is replicated unless an exception says otherwise, DNS too: that the standby holds every session of the active, and can
prove it, is what a pair is for, and exceptions are not counted as missing. DNS is the exception worth thinking about. A query
is over when its answer has passed, and only then would its record be sent: the record saves nothing, and costs a create and a
delete. Where names make up a large part of the sessions (\`understudy show sessions --port 53\`), this halves the log and loses
nothing; a query under way in the moment of a takeover is asked again by its resolver, replicated or not:

\`\`\`yaml
replication:
  except: [{ protocol: udp, port: 53 }]
\`\`\`

Other good exceptions: a monitoring station that polls the whole network (\`network\`), a guests' network that nobody promised
anything to. Bad ones: anything that talks for long, above all where the far side does the talking (VPNs, calls, downloads).

The kernel itself drops the events of sessions that are not sent (a filter on the event socket): they cost what the kernel needs to
word them, and nothing else. Another policy begins the log anew on a pair that runs: the standby takes a whole snapshot, in which
what is sent from now on arrives and what is not sent any more goes.
`;

const HELPED_FIRST = `## Helpers, and why none reads unasked

Some protocols arrange further sessions in their own words: FTP the connection that carries a file, SIP the media of a call. Behind
translation such a session only finds its way if the kernel reads those words, rewrites the addresses in them, and expects what they
announce. A helper does that, for the LAN's sessions to its port:
`;

const HELPED_LAST = `No helper reads unasked. What it reads, it believes: a page in a browser that is made to speak to port 21 or 5060 of a stranger can
have the stranger let in to a port of that host. Therefore the kernel assigns none by itself since Linux 4.7, and neither does
Understudy. Name those that your LAN needs, and no others: a client of passive FTP needs none, nor does SIP with a provider that
mends the addresses itself (most do; where a helper mends them too, calls may break).

A session keeps the helper that it got when it began, on both nodes; a changed list counts for sessions that begin later. The kernel
must have the helper and its translation (nf_conntrack_ftp and nf_nat_ftp, and so on: \`modprobe\` both where they are modules);
a node whose kernel lacks one that is named cannot load its rules, and says so. What becomes of each in a takeover is in
[protocol.md](protocol.md), §9.4 and §9.6.
`;

const HELPED_ABOUT: Readonly<Record<HelperName, string>> = {
  ftp: "the data connections of FTP, active and passive",
  tftp: "the server's answer, which comes from another port",
  sip: "calls to a registered telephone, and the media of calls",
  irc: "DCC: files and conversations between two users (IPv4)",
  pptp: "the GRE tunnel of PPTP (IPv4); it does not outlive a takeover, and is dialled again",
  h323: "calls and their media",
};

/** The helpers as a table. */
function helped(): string {
  const rows = HELPER_NAMES.map((name) => {
    const ports = HELPERS[name].map(({ protocol, port }) => `${protocol} ${port}`).join(", ");
    return `| \`${name}\` | ${ports} | ${HELPED_ABOUT[name]} |`;
  });
  const head = ["| helper | port | what it reads of |", "| --- | --- | --- |"];
  return [HELPED_FIRST, [...head, ...rows, ""].join("\n"), HELPED_LAST].join("\n");
}

/** The whole document. */
export function configurationDocument(): string {
  return [
    INTRODUCTION,
    section("The pair's file", PAIR, PAIR_EXAMPLE, PAIR_RULES),
    DERIVED,
    REPLICATED,
    helped(),
    section("The node's file", NODE, NODE_EXAMPLE, NODE_RULES),
    machine,
    kinds(),
  ].join("\n");
}

const machine = `### What the machine must have

At start-up, and for \`understudy doctor\`: every interface is there; the private key is there, readable by its owner alone and
one of those that the pair's file lists for this node; the state and runtime directories can be written.
`;

function section<File>(
  title: string,
  spec: MapSpec<Keys>,
  example: string,
  rules: readonly Rule<File>[],
): string {
  const together = rules.map((rule) => `- ${rule.text}`).join("\n");
  const groups = groupsOf(spec, "").map(([path, inner]) => keyTable(path, inner));
  return [
    `## ${title}\n`,
    `${spec.about}\n`,
    `\`\`\`yaml\n${example}\`\`\`\n`,
    ...groups,
    `### What must hold together\n`,
    `${together}\n`,
  ].join("\n");
}

/** Every group of keys with its path, outermost first, each once where two keys share one (nodes a and b). */
function groupsOf(spec: Spec, path: string): [string, MapSpec<Keys>][] {
  if (spec.kind === "list") return groupsOf(spec.item, `${path}[]`);
  if (spec.kind !== "map") return [];
  const inner = Object.entries(spec.keys).flatMap(([name, key]) => {
    const first = Object.values(spec.keys).find((other) => other.spec === key.spec) === key;
    return first ? groupsOf(key.spec, path === "" ? name : `${path}.${name}`) : [];
  });
  return [[path, spec], ...inner];
}

function keyTable(path: string, spec: MapSpec<Keys>): string {
  const rows = Object.entries(spec.keys).map(([name, key]) => {
    const otherwise = key.required ? "**required**" : (key.otherwise ?? "");
    return `| \`${name}\` | ${typeWords(key.spec)} | ${otherwise} | ${key.about} | \`${key.example}\` |`;
  });
  const heading = path === "" ? "### The outermost keys" : `### \`${path}\``;
  const about = path === "" ? [] : [`${spec.about}\n`];
  const head = ["| key | value | if left out | what it is | example |", "| --- | --- | --- | --- | --- |"];
  return [`${heading}\n`, ...about, [...head, ...rows, ""].join("\n")].join("\n");
}

function typeWords(spec: Spec): string {
  switch (spec.kind) {
    case "scalar": {
      const { minimum, maximum } = spec.schema as { minimum?: number; maximum?: number };
      return minimum === undefined ? spec.name : `${minimum} to ${maximum}`;
    }
    case "list": {
      const many = `list of ${countWords(spec)} ${spec.of}`;
      return spec.single ? `${typeWords(spec.item)}, or ${many}` : many;
    }
    case "map":
      return "keys, see below";
    case "names":
      return `names, each with its device; at most ${spec.max}`;
  }
}

/** Every kind of scalar, each once, with what it expects. */
function kinds(): string {
  const seen = new Map<string, string>();
  const visit = (spec: Spec): void => {
    if (spec.kind === "list") visit(spec.item);
    else if (spec.kind === "map") for (const key of Object.values(spec.keys)) visit(key.spec);
    else if (spec.kind === "names") visit(spec.value);
    else if (spec.types[0] === "string" && spec.schema["enum"] === undefined)
      seen.set(spec.name, kindWords(spec));
  };
  visit(PAIR);
  visit(NODE);
  const rows = [...seen].map(([name, words]) => `| ${name} | ${words} |`);
  return ["## Kinds of value\n", "| kind | what it is |", "| --- | --- |", ...rows, ""].join("\n");
}

/** Durations differ by their bounds alone, which each key's rule and message give. */
function kindWords(spec: Extract<Spec, { kind: "scalar" }>): string {
  return spec.name === "duration"
    ? "a whole number with its unit: ms, s, m or h, such as 10ms"
    : spec.expected;
}
