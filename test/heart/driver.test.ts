// The driver's contract with the machine (core/election/types.ts): what is drained comes before `turn`, effects are
// performed in order, receipts are fed at once and append, an `open` past its time is not performed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Millis, millis } from "../../src/base/units.ts";
import type { ElectionEffect, ElectionInput } from "../../src/core/election/types.ts";
import { Driver, type DriverOptions } from "../../src/heart/driver.ts";
import type { Gate } from "../../src/kernel/gate.ts";

/** A gate that writes down what was asked of it. */
function recordingGate(journal: string[], held: { value: boolean }): Gate {
  const note = (what: string, ok: boolean): boolean => {
    journal.push(what);
    return ok;
  };
  return {
    install: () => void journal.push("install"),
    isProtected: () => false,
    adopt: () => null,
    reshape: async () => undefined,
    renew: (kind) => note(`renew ${kind}`, held.value),
    open: (kind) => note(`open ${kind}`, true),
    drain: () => note("drain", true),
    shut: () => note("shut", true),
    present: () => true,
    remove: () => void journal.push("remove"),
    close: () => undefined,
  };
}

/** Runs one turn with what `react` answers to each input, then ends. */
async function runOnce(
  waiting: readonly ElectionInput[],
  react: (input: ElectionInput, now: Millis) => readonly ElectionEffect[],
  held = { value: true },
  changes: { readonly gate?: Partial<Gate>; readonly ports?: Partial<DriverOptions["ports"]> } = {},
): Promise<readonly string[]> {
  const journal: string[] = [];
  const gate = { ...recordingGate(journal, held), ...changes.gate };
  const left = [...waiting];
  const options: DriverOptions = {
    machine: {
      step: (now, input, effects) => {
        journal.push(`input ${input.kind}${"ok" in input ? ` ${input.ok}` : ""}`);
        effects.push(...react(input, now));
      },
      deadline: () => millis(0),
    },
    gate,
    terms: { file: "", store: () => undefined, takeResult: () => null, idle: async () => undefined },
    ports: {
      descriptors: [],
      drain: (feed) => {
        for (const input of left.splice(0)) feed(input);
      },
      sendHeartbeat: () => void journal.push("heartbeat"),
      probe: (segment) => journal.push(`probe ${segment}`) > 0,
      askWitness: (segment) => void journal.push(`ask ${segment}`),
      announce: () => void journal.push("announce"),
      ...changes.ports,
    },
    onEffect: (effect) => void journal.push(effect.kind),
    repairGate: () => undefined,
    log: (line) => void journal.push(`log ${line.split("\n")[0]}`),
  };
  await new Driver(options)
    .run()
    .catch((error: Error) => journal.push(`threw ${error.message.split("\n")[0]}`));
  return journal.filter((line) => !line.startsWith("log stalled"));
}

test("what was drained is fed before the turn, and effects follow in their order", async () => {
  const journal = await runOnce(
    [
      { kind: "witness", segment: 0 },
      { kind: "carrier", segment: 1, up: true },
    ],
    (input) => {
      if (input.kind === "witness") return [{ kind: "ask-witness", segment: 0 }];
      if (input.kind !== "turn") return [];
      return [{ kind: "shut" }, { kind: "probe", segment: 1, broadcast: false }, { kind: "exit" }];
    },
  );
  assert.deepEqual(journal, ["input witness", "input carrier", "input turn", "ask 0", "shut", "probe 1"]);
});

test("a renewal's receipt is fed at once, and what follows from it comes last in the same turn", async () => {
  const journal = await runOnce(
    [],
    (input) => {
      if (input.kind === "turn") return [{ kind: "renew", lease: "short" }, { kind: "announce" }];
      return input.kind === "renewal" && !input.ok ? [{ kind: "shut" }, { kind: "exit" }] : [];
    },
    { value: false },
  );
  assert.deepEqual(journal, ["input turn", "renew short", "input renewal false", "announce", "shut"]);
});

test("an open that comes after its time is not performed, and the machine is told", async () => {
  const journal = await runOnce([], (input, now) => {
    if (input.kind === "turn") return [{ kind: "open", notAfter: millis(now - 1) }];
    return [{ kind: "exit" }];
  });
  assert.deepEqual(journal, ["input turn", "input opened false"]);
});

test("an open in time is performed with a short lease, and its receipt says so", async () => {
  const journal = await runOnce([], (input, now) => {
    if (input.kind === "turn") return [{ kind: "open", notAfter: millis(now + 1000) }];
    return [{ kind: "exit" }];
  });
  assert.deepEqual(journal, ["input turn", "open short", "input opened true"]);
});

test("nothing is performed after exit", async () => {
  const journal = await runOnce([], () => [{ kind: "exit" }, { kind: "announce" }]);
  assert.deepEqual(journal, ["input turn"]);
});

test("a probe that did not leave is told at once", async () => {
  const journal = await runOnce(
    [],
    (input) => {
      if (input.kind === "turn")
        return [{ kind: "probe", segment: 1, broadcast: true }, { kind: "announce" }];
      return input.kind === "probe-failed" ? [{ kind: "exit" }] : [];
    },
    { value: true },
    { ports: { probe: () => false } },
  );
  assert.deepEqual(journal, ["input turn", "input probe-failed", "announce"]);
});

const broken = (): never => {
  throw new Error("ENOBUFS");
};

test("one exception, wherever it comes from, ends neither heart nor the other effects", async () => {
  let turns = 0;
  const journal = await runOnce(
    [],
    (input) => {
      if (input.kind === "renewal") return [{ kind: "exit" }];
      if (input.kind !== "turn") return [];
      turns += 1;
      if (turns === 1) broken();
      return [{ kind: "announce" }, { kind: "renew", lease: "short" }];
    },
    { value: true },
    { gate: { present: broken, renew: broken }, ports: { announce: broken } },
  );
  assert.deepEqual(journal, [
    "log defect, looking at the gate: Error: ENOBUFS",
    "input turn",
    "log defect, in the turn: Error: ENOBUFS",
    "input turn",
    "log defect, performing announce: Error: ENOBUFS",
    "input renewal false",
  ]);
});

test("exceptions without end: the gate is shut, and heart ends with words", async () => {
  const journal = await runOnce(
    [],
    (input) => (input.kind === "turn" ? broken() : []),
    { value: true },
    { gate: { present: broken } },
  );
  assert.equal(journal.filter((line) => line.startsWith("log defect")).length, 3);
  assert.equal(journal.at(-2), "shut");
  assert.match(
    journal.at(-1)!,
    /^threw keep the gate: DEFECTS: 25 exceptions within 10 s, the last one .*ENOBUFS/,
  );
});
