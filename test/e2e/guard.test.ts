// Port 1148 of two real nodes: a stranger on the LAN and one on the replication segment are named in alarms, on their
// node by name and on the other by number; a guard that somebody removed comes back; an ordinary stop is no alarm.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ExitCode } from "../../src/base/errors.ts";
import type { AlarmsView } from "../../src/wire/control.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/understudy", import.meta.url));
const env = {
  ...process.env,
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
  UNDERSTUDY_NODE: process.execPath,
};
const TIMEOUT_MS = 240_000;
/** Each question takes a process of its own, a third of a second or more. */
const QUESTIONS_MAX = 60;

const run = (command: string, ...args: readonly string[]) =>
  spawnSync(command, args, { env, encoding: "utf8", timeout: 120_000 });
const understudy = (...args: readonly string[]) => run(PROGRAM, ...args);

interface Standing {
  readonly lab: string;
  /** `nsenter -t PID -n` */
  readonly enter: string;
  readonly namespaces: Readonly<Record<string, number>>;
  readonly nodes: Readonly<Record<"a" | "b", { readonly file: string }>>;
}

/** The laboratory as this test uses it. */
function hands(standing: Standing) {
  const inside = (name: string, command: string) => {
    const [enter, ...args] = standing.enter.replace("PID", String(standing.namespaces[name])).split(" ");
    return run(enter!, ...args, "bash", "-c", command);
  };
  const alarmsOf = (node: "a" | "b"): AlarmsView =>
    JSON.parse(understudy("show", "alarms", "--json", "--node", standing.nodes[node].file).stdout);
  /** Asks until an alarm is there, doing `again` before each question; its detail. */
  const waitForAlarm = (node: "a" | "b", code: string, again: () => void): string => {
    for (let question = 0; question < QUESTIONS_MAX; question += 1) {
      again();
      const alarm = alarmsOf(node).alarms.find((each) => each.code === code);
      if (alarm !== undefined) return alarm.detail;
    }
    return `no alarm ${code} on ${node}`;
  };
  return { inside, alarmsOf, waitForAlarm };
}

test("strangers on port 1148 and on the replication segment", { timeout: TIMEOUT_MS }, (t) => {
  const up = understudy("lab", "--up", "--json", "--live", "2", "--background", "0", "--hosts", "2");
  if (up.status === ExitCode.NotPossible) {
    t.skip(up.stderr.trim());
    return;
  }
  assert.equal(up.status, ExitCode.Ok, up.stderr);
  const standing = JSON.parse(up.stdout) as Standing;
  t.after(() => void understudy("lab", "--down", "--lab", standing.lab));
  const { inside, alarmsOf, waitForAlarm } = hands(standing);

  // 10.20.1.1 is a host of the LAN.
  const knock = (): void => void inside("h1", "for n in 1 2 3; do echo hello >/dev/udp/10.20.0.2/1148; done");
  assert.equal(waitForAlarm("a", "foreign-traffic-1148", knock), "10.20.1.1 on lan (foreign-source)");
  // It travels with the next heartbeats, and heart tells its daemon twice a second.
  const isTold = Array.from({ length: QUESTIONS_MAX }).some(() => (alarmsOf("b").peer?.alarms ?? 0) >= 1);
  assert.ok(isTold, "the other node says that this one has alarms");

  inside("switch", "ip address add 10.255.0.9/24 dev br-sync");
  const ask = (): void =>
    void inside("switch", "ip neighbour flush dev br-sync; echo hello >/dev/udp/10.255.0.2/9");
  assert.match(waitForAlarm("b", "replication-segment-shared", ask), /\(10\.255\.0\.9\) on sync$/);
  assert.equal(
    alarmsOf("b").alarms.find(({ code }) => code === "foreign-traffic-1148"),
    undefined,
  );

  // Owned where the kernel has that: nobody else deletes it. Put back, and told, where it has not.
  const deleted = inside("b", "nft delete table inet understudy-guard");
  if (deleted.status === 0)
    assert.match(
      waitForAlarm("b", "dress-repaired", () => {}),
      /understudy-guard/,
    );
  else assert.match(deleted.stderr, /not permitted/);
  assert.equal(inside("b", "nft list table inet understudy-guard").status, 0);

  const stop = understudy("stop", "--node", standing.nodes.a.file);
  assert.equal(stop.status, 0, stop.stderr);
  assert.equal(inside("a", "nft list tables").stdout, "");
  const left = alarmsOf("b");
  assert.equal(
    left.alarms.find(({ code }) => /1148/.test(code)),
    undefined,
    JSON.stringify(left),
  );
});
