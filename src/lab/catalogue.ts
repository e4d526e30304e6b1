// Every scenario of the laboratory as data: what happens in it, for a reader, and the bounds that it has to hold. How
// it is played stands in scenarios.ts and acts/; how it is judged in outcome.ts. Pure.

export interface ScenarioSpec {
  /** What happened, for the report. */
  readonly happened: string;
  /** Longest silence of a ping, as root; judged where figures decide. */
  readonly gapMaxMs?: number;
  /** Not one ping may be lost. */
  readonly lossless?: true;
  /** Longest silence of a live session, where the fault takes longer to be noticed than a death; else survival.ts. */
  readonly stallMaxMs?: number;
  /** Both may claim for so long at most, where two halves are joined that were both served. Else: never. */
  readonly overlapMaxMs?: number;
  /** Has no traffic through the pair: it is about who is active. */
  readonly idle?: true;
  /**
   * The machine is starved on purpose: a takeover that nobody asked for decides all the same. Needs root, for
   * real-time priority.
   */
  readonly starved?: true;
  /**
   * Beside what is asked for: sessions in the kernels' tables (`short`: where long times are played shorter), and
   * connections that one process holds open.
   */
  readonly more?: { readonly sessions: number; readonly short?: number; readonly connections?: number };
  /** Helpers of connection tracking that the pair is configured with. */
  readonly helpers?: readonly string[];
  /** Programs that only this one needs. */
  readonly programs?: readonly { readonly program: string; readonly debianPackage: string }[];
  /** Each node has its state on a small disk of its own, which can be filled. */
  readonly ownDisk?: true;
}

/** A half failure is noticed in up to 0.8 s; TCP's retransmissions are then up to 1.6 s apart. */
const HALF_FAILURE_STALL_MS = 3000;
/** Nobody can serve while it lasts: what counts is that every session goes on afterwards. */
const OUTAGE_STALL_MS = 30_000;

const HELPERS = ["ftp", "tftp", "sip"] as const;

const SPECS = {
  crash: {
    happened: "Every cable of the active node went dead at once (with the link lights on).",
    gapMaxMs: 100,
  },
  power: {
    happened:
      "The active node lost its power: its processes, its sessions and its rules were gone. Later it booted.",
    gapMaxMs: 100,
  },
  freeze: {
    happened: "The active node stood still for 3 seconds, and then went on as if nothing had been.",
    gapMaxMs: 60,
  },
  handover: { happened: "The active role was handed over 20 times, on command.", lossless: true },
  placement: { happened: "Sessions were spread over both links, by one node and then by the other." },
  "kill-heart": {
    happened: "Heart was killed on the active node, and nothing else. Its daemon started another.",
    gapMaxMs: 60,
  },
  "kill-daemon": {
    happened: "The daemon was killed on the active node, and nothing else. Later it was started again.",
    lossless: true,
  },
  "restart-daemon": {
    happened: "The daemon was restarted on both nodes, the active's first; heart was left alone.",
    lossless: true,
  },
  "restart-heart": {
    happened: "The standby lost its power; then heart was restarted on the node that was left alone.",
    lossless: true,
  },
  upgrade: {
    happened: "Heart and the daemon were restarted on the standby, then on the active, which handed over.",
    lossless: true,
  },
  "wedge-daemon": {
    happened: "The active's daemon stood still until heart had given it up, and then went on.",
    lossless: true,
  },
  "freeze-standby": {
    happened: "The standby's heart stood still for 60 ms, 200 ms and 3 s, again and again.",
    lossless: true,
  },
  "heartbeats-cut": {
    happened: "Every heartbeat was dropped on every path for a while; the segments were intact.",
    lossless: true,
  },
  "deaf-lan": {
    happened: "Only the LAN port of the active stopped forwarding, with its link light on.",
    stallMaxMs: HALF_FAILURE_STALL_MS,
  },
  "deaf-wan": {
    happened: "Only one Internet port of the active stopped forwarding, with its link light on.",
    stallMaxMs: HALF_FAILURE_STALL_MS,
  },
  "deaf-lan-both": {
    happened: "The LAN ports of both nodes stopped forwarding alike, for a while.",
    stallMaxMs: OUTAGE_STALL_MS,
  },
  "deaf-wan-both": {
    happened: "The Internet ports of both nodes stopped forwarding alike, for a while.",
    stallMaxMs: OUTAGE_STALL_MS,
  },
  carrier: {
    happened: "The active's LAN cable was pulled out (the link light went off).",
    stallMaxMs: HALF_FAILURE_STALL_MS,
  },
  "unplug-standby": {
    happened: "Every cable of the standby was pulled out (the link lights went off), and plugged in again.",
    lossless: true,
  },
  "unplug-standby-ports": {
    happened: "Every switch port of the standby stopped forwarding (with the link lights on), and came back.",
    lossless: true,
  },
  split: {
    happened:
      "Every switch was cut in two, with a node, an ISP and half of the hosts on each side; then healed.",
    stallMaxMs: OUTAGE_STALL_MS,
    overlapMaxMs: 50,
  },
  "sync-cut": {
    happened: "The standby booted, and while it was fetching the sessions its sync cable went dead.",
    lossless: true,
  },
  "foreign-flush": {
    happened: "Somebody said `nft flush ruleset` on one node and then on the other, again and again.",
  },
  "boot-race": {
    happened: "Both nodes lost their power and booted in the same instant, again and again.",
    idle: true,
  },
  flap: { happened: "The active died and came back, again and again, in turns.", gapMaxMs: 100 },
  flood: {
    happened:
      "A host of the LAN flooded port 1148 of both nodes: with the peer's address, then with its own.",
  },
  "busy-nft": {
    happened:
      "Large maps were loaded and deleted on the active in a loop, and its ruleset was listed in a loop.",
  },
  "busy-disk": {
    happened: "The active died while a writer kept the standby's disk busy.",
    gapMaxMs: 100,
  },
  "full-disk": {
    happened: "The active died while the standby's disk was full.",
    gapMaxMs: 100,
    ownDisk: true,
  },
  "read-only-disk": {
    happened: "The active died while the standby's disk was read-only.",
    gapMaxMs: 100,
    ownDisk: true,
  },
  apply: {
    happened:
      "Other weights and a third link were applied while sessions ran; then the role was handed over.",
    lossless: true,
    more: { sessions: 20_000 },
  },
  "apply-broken": {
    happened: "Files were applied that had to be refused, each for another reason.",
    lossless: true,
  },
  drift: {
    happened:
      "The standby booted with another file than the active's; twice, and each time one of them was chosen.",
    lossless: true,
  },
  rollback: {
    happened: "Other weights were applied while sessions ran, and taken back.",
    lossless: true,
    more: { sessions: 20_000 },
  },
  "idle-call": {
    happened:
      "A call and an idle session outlasted their protocols' times, flows ended without a word, and the active died.",
    gapMaxMs: 100,
    more: { sessions: 10_000 },
  },
  "ftp-sip": {
    happened: "The active died under FTP and SIP: control connections, calls, and what they had arranged.",
    gapMaxMs: 100,
    helpers: ["ftp", "sip"],
    programs: [{ program: "sipp", debianPackage: "sip-tester" }],
  },
  kinds: {
    happened: "Every cable of the active node went dead at once, with sessions of every kind under way.",
    gapMaxMs: 100,
    helpers: HELPERS,
  },
  "kinds-handover": {
    happened: "The active role was handed over, on command, with sessions of every kind under way.",
    lossless: true,
    helpers: HELPERS,
  },
  saturated: {
    happened: "Busy loops, fork loops and a disk writer took all that the machine has.",
    stallMaxMs: OUTAGE_STALL_MS,
    starved: true,
  },
  "reboot-standby": {
    happened: "The standby lost its power and booted; once it was ready, the active died.",
    gapMaxMs: 100,
    more: { sessions: 1000, connections: 1000 },
  },
  "mid-snapshot": {
    happened:
      "The active died while a standby that had just booted was fetching the sessions: at 10, 50 and 90 %.",
    stallMaxMs: OUTAGE_STALL_MS,
    more: { sessions: 20_000 },
  },
  stale: {
    happened:
      "The standby's daemon was started over a kernel full of sessions that were over or had changed.",
    lossless: true,
    more: { sessions: 10_000 },
  },
  damaged: {
    happened: "Sessions of the standby's kernel were deleted and changed behind its daemon's back.",
    lossless: true,
  },
  "sync-lost": {
    happened: "The sync cable went dead; then the active died while replication went by another path.",
    gapMaxMs: 100,
    more: { sessions: 3000, connections: 500 },
  },
  "paths-cut": {
    happened: "Replication was dropped on every path for a while; heartbeats were not.",
    lossless: true,
    more: { sessions: 2000, connections: 2000 },
  },
  loss: {
    happened: "The sync cable lost 1 % of all frames, under 5,000 new sessions a second.",
    lossless: true,
    more: { sessions: 105_000, short: 5000 },
  },
  "on-off": {
    happened: "The same traffic passed once with replication and once without.",
    lossless: true,
    more: { sessions: 6000, connections: 6000 },
  },
  storm: {
    happened: "The active died while 2,000 TCP connections a second were being opened.",
    gapMaxMs: 100,
    more: { sessions: 8000, connections: 8000 },
  },
  "slow-standby": {
    happened:
      "The standby's daemon stood still for half a minute, under 5,000 new sessions a second on the active.",
    lossless: true,
    more: { sessions: 150_000, short: 6000 },
  },
  churn: {
    happened: "Sessions were opened, changed and closed by the thousand, for minutes.",
    lossless: true,
    more: { sessions: 100_000, short: 4000, connections: 10_000 },
  },
  audit: {
    happened: "Somebody deleted, inserted and changed sessions in the standby's kernel by hand.",
    lossless: true,
    more: { sessions: 2000 },
  },
  overrun: {
    happened: "The active's kernel had no room to tell its daemon of sessions, for a while.",
    lossless: true,
    more: { sessions: 40_000, short: 2000 },
  },
  readiness: {
    happened: "Readiness was asked for all the time, while the pair was cut, frozen and changed by hand.",
    lossless: true,
    more: { sessions: 30_000 },
  },
  soak: {
    happened:
      "Sessions came and went, and the pair crashed, was cut, frozen and changed by hand in turns, for as long as was asked.",
    more: { sessions: 20_000, short: 5000 },
  },
} as const satisfies Readonly<Record<string, ScenarioSpec>>;

export type ScenarioName = keyof typeof SPECS;
export const SCENARIOS = Object.keys(SPECS) as readonly ScenarioName[];
export const specOf = (name: ScenarioName): ScenarioSpec => SPECS[name];

/** What users of other products complain about, and the scenario that shows it here (`--scenario complaint-5`). */
export const COMPLAINTS: Readonly<
  Record<string, { readonly scenario: ScenarioName; readonly about: string }>
> = {
  "complaint-1": {
    scenario: "crash",
    about: "the address moves before the sessions do, and live connections are reset",
  },
  "complaint-2": { scenario: "power", about: "connections hang after kill -9, whatever the recipe" },
  "complaint-3": { scenario: "boot-race", about: "both become master after a simultaneous boot" },
  "complaint-4": { scenario: "split", about: "after a split brain nobody announces the address again" },
  "complaint-5": { scenario: "freeze", about: "a starved or paused machine makes two masters" },
  "complaint-6": { scenario: "split", about: "both stay master, until somebody comes" },
  "complaint-7": {
    scenario: "sync-cut",
    about: "the bulk of the states never arrives, and nobody takes over",
  },
  "complaint-8": {
    scenario: "paths-cut",
    about: "one node never sends its states, and nobody notices",
  },
  "complaint-9": { scenario: "damaged", about: "replication goes bad silently, and stays so" },
  "complaint-10": {
    scenario: "reboot-standby",
    about: "after a reboot of the standby long-lived connections are not sent again",
  },
  "complaint-11": { scenario: "on-off", about: "connections are dropped whenever replication is on" },
  "complaint-12": {
    scenario: "storm",
    about: "the first packets meet a node that does not have the state yet",
  },
  "complaint-13": { scenario: "crash", about: "after a failover a session leaves through another link" },
  "complaint-14": { scenario: "handover", about: "a planned change loses pings" },
  "complaint-24": {
    scenario: "drift",
    about: "the nodes' configurations drift apart, and what is synchronised lands on the wrong interface",
  },
  "complaint-18": { scenario: "flap", about: "failover works once, and then never again" },
};

/** Names that `--scenario` takes. */
export const SCENARIO_WORDS: readonly string[] = [...SCENARIOS, ...Object.keys(COMPLAINTS)];

/** The scenario behind a word of `SCENARIO_WORDS`. */
export const scenarioOf = (word: string): ScenarioName =>
  COMPLAINTS[word]?.scenario ?? (word as ScenarioName);
