// When the kernel's dress is put on: not on a word of heart's that may be older than its gate. The wardrobe here writes down what
// is asked of it; the real one is in test/e2e.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Dresser } from "../../src/daemon/dresser.ts";
import type { Wardrobe } from "../../src/daemon/wardrobe.ts";
import type { HeartState } from "../../src/wire/control.ts";
import { pairConfig } from "../core/configFixture.ts";

const heart = { pid: 7, gateRepairs: 0, segments: [{ gated: true }] } as unknown as HeartState;

function dressed(): { readonly dresser: Dresser; readonly done: string[] } {
  const done: string[] = [];
  const wardrobe = {
    hang: () => done.push("hang"),
    dress: () => done.push("dress"),
    mend: () => {
      done.push("mend");
      return { changes: 0, last: "", fault: null };
    },
  } as unknown as Wardrobe;
  const dresser = new Dresser({
    config: () => pairConfig({}),
    goesBy: () => true,
    wardrobe,
    onMended: () => undefined,
    onPortsReplaced: () => undefined,
    log: () => undefined,
  });
  dresser.dress(heart);
  done.length = 0;
  return { dresser, done };
}

test("clothes were changed, and everything is in place: what is missing is mended, at once", () => {
  const { dresser, done } = dressed();
  dresser.pause();
  dresser.look();
  assert.deepEqual(done, []);
  dresser.resume(true);
  assert.deepEqual([done, dresser.dressed], [["hang", "mend"], true]);
});

test("left half way: nothing goes up before heart's gate was looked at again, and the node does not count as dressed", () => {
  const { dresser, done } = dressed();
  dresser.pause();
  dresser.resume(false);
  assert.deepEqual([done, dresser.dressed], [["hang"], false]);
  assert.equal(dresser.mayTrust(heart, false), false);
  dresser.look();
  assert.deepEqual([done, dresser.dressed], [["hang", "hang"], false]);
});
