// Sessions without a way are ended, and those alone: by link, by the address that they are translated to. Real sessions, made by real
// packets; their ends are told like any other.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { endSessions } from "../../src/kernel/sessionEnd.ts";
import { openSessionEvents, type SessionEvents } from "../../src/kernel/sessionEvents.ts";
import { forEachRecord, RecordBatch, recordOperation, SessionOperation } from "../../src/wire/session.ts";
import { inNamespace } from "./namespace.ts";
import { exchangeUdp, makeWorld, table, type World } from "./sessionWorld.ts";

/** Every session of this world: its mark says link 3. */
const LINK = 3;
const PAIRS = /mark=5271811$/;

let world: World;
let events: SessionEvents;

if (inNamespace.skip === false) {
  before(() => {
    world = makeWorld({ translate: true });
    events = world.active.run(() => openSessionEvents());
  });
  after(() => {
    events.close();
    world.close();
  });
}

function open(): void {
  for (const port of [4001, 4002, 4003]) exchangeUdp(world, ["10.9.0.2", port], ["192.0.2.2", 4500], 3);
  exchangeUdp(world, ["fd09::2", 4004], ["2001:db8::2", 4500], 3);
}
const left = (): number => table(world.active).filter((line) => PAIRS.test(line)).length;
/** How many ends were told since the last look. */
function endsTold(): number {
  let ends = 0;
  const batch = new RecordBatch();
  world.active.run(() => events.drain(batch));
  forEachRecord(batch.records(), (offset) => {
    if (recordOperation(batch.bytes, offset) === SessionOperation.Delete) ends += 1;
  });
  return ends;
}

test(
  "those of another link, and those translated to an address that stays, are left alone",
  inNamespace,
  async () => {
    open();
    assert.equal(left(), 4);
    assert.equal(await world.active.run(() => endSessions(LINK + 1, [])), 0);
    assert.equal(await world.active.run(() => endSessions(LINK, ["192.0.2.1", "2001:db8::1"])), 0);
    assert.equal(left(), 4);
  },
);

test("those translated to another address end", inNamespace, async () => {
  endsTold();
  assert.equal(await world.active.run(() => endSessions(LINK, ["192.0.2.1"])), 1);
  assert.equal(left(), 3);
  assert.equal(endsTold(), 1);
});

test("all of a link end, and are told; a second time there is nothing", inNamespace, async () => {
  assert.equal(await world.active.run(() => endSessions(LINK, [])), 3);
  assert.equal(left(), 0);
  assert.equal(endsTold(), 3);
  assert.equal(await world.active.run(() => endSessions(LINK, [])), 0);
});
