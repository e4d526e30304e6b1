// The driver of setting back: what the log and the counters say where the table cannot be read, and that nothing is left
// open or running. (Its machine: test/core/setBack.test.ts; with a real kernel: test/kernel/setBack.test.ts.)

import assert from "node:assert/strict";
import { test } from "node:test";
import { SetBack } from "../../src/daemon/setBack.ts";

/** Resolves with the line that was logged next. */
function listener(): { log: (line: string) => void; next: () => Promise<string> } {
  const lines: string[] = [];
  let wake = (): void => {};
  return {
    log: (line) => {
      lines.push(line);
      wake();
    },
    next: async () => {
      while (lines.length === 0)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      return lines.shift()!;
    },
  };
}

test("a table that cannot be read is said and counted, and what was open is closed", async () => {
  const { log, next } = listener();
  let closed = 0;
  const setBack = new SetBack({
    walk: () => ({
      step: () => {
        throw new Error("no memory");
      },
      close: () => {
        closed += 1;
      },
    }),
    log,
  });
  setBack.role(true);
  assert.equal(await next(), "replication: times cannot be set back yet: no memory");
  assert.deepEqual([setBack.phase, setBack.counters["failed"], closed], ["waiting", 1, 1]);
  setBack.close();
});

test("refusals are counted by their name, and told at the end; the second walk is a walk of its own", async () => {
  const { log, next } = listener();
  let walks = 0;
  let open = 0;
  const setBack = new SetBack({
    walk: () => {
      walks += 1;
      open += 1;
      const first = walks === 1;
      return {
        step: () => ({ seen: 3, setBack: first ? 2 : 0, refused: first ? { ENOMEM: 1 } : {}, more: false }),
        close: () => {
          open -= 1;
        },
      };
    },
    log,
  });
  setBack.role(true);
  assert.match(await next(), /^replication: 2 of 3 sessions were set back .* ago; 1 refused$/);
  assert.deepEqual(
    [walks, open, setBack.phase, setBack.counters["refused-ENOMEM"], setBack.counters["setBack"]],
    [2, 0, "done", 1, 2],
  );
  setBack.close();
});

test("the role that is lost in mid-walk closes it, and nothing is read any more", async () => {
  const { log, next } = listener();
  let [steps, open] = [0, 0];
  const setBack = new SetBack({
    walk: () => {
      open += 1;
      return {
        step: () => {
          steps += 1;
          if (steps === 3) log("third");
          return { seen: 1, setBack: 1, refused: {}, more: true };
        },
        close: () => {
          open -= 1;
        },
      };
    },
    log,
  });
  setBack.role(true);
  assert.equal(await next(), "third");
  setBack.role(false);
  assert.deepEqual([open, setBack.phase], [0, "off"]);
  // Its timer went with it: the process ends though nobody closes it.
});
