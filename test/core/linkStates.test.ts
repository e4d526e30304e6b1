// What a node makes of its links: each verdict, and that what goes on keeps its beginning, whoever said it first.

import assert from "node:assert/strict";
import { test } from "node:test";
import { linkId } from "../../src/base/units.ts";
import { linkStatesOf, sameLinkStates } from "../../src/core/linkStates.ts";

const link = (id: number, name: string, enabled = true) => ({ id: linkId(id), name, enabled });
const seen = (name: string, carrier: boolean) => ({ name, carrier });
const links = [link(1, "fibre"), link(2, "cable"), link(3, "spare", false), link(4, "new")];

test("up, down without a carrier, disabled by the configuration, not known where nobody looks", () => {
  const states = linkStatesOf(
    links,
    [seen("lan", true), seen("fibre", true), seen("cable", false), seen("spare", true)],
    null,
    7,
  );
  assert.deepEqual(
    states.map(({ link: id, state, reason, since }) => `${id} ${state} ${reason} ${since}`),
    ["1 up none 7", "2 down carrier 7", "3 disabled configuration 7", "4 unknown none 7"],
  );
});

test("what goes on keeps its beginning; what changes begins now; what is gone is left out", () => {
  const before = linkStatesOf(links, [seen("fibre", true), seen("cable", true)], null, 10);
  const after = linkStatesOf(links.slice(0, 3), [seen("fibre", true), seen("cable", false)], before, 20);
  assert.deepEqual(
    after.map(({ link: id, since }) => [id, since]),
    [
      [1, 10],
      [2, 20],
      [3, 10],
    ],
  );
  // Down for another reason is another state.
  const probed = before.map((each) => ({ ...each, state: "down" as const, reason: "probes" as const }));
  assert.equal(linkStatesOf(links, [seen("fibre", false)], probed, 30)[0]!.since, 30);
});

test("the same list is the same; any difference is one", () => {
  const one = linkStatesOf(links, [], null, 1);
  assert.equal(sameLinkStates(one, linkStatesOf(links, [], null, 1)), true);
  const changes = [
    { link: 9 },
    { state: "up" as const },
    { reason: "operator" as const },
    { since: 2 },
    { detail: "x" },
  ];
  for (const change of changes)
    assert.equal(
      sameLinkStates(one, [{ ...one[0]!, ...change }, ...one.slice(1)]),
      false,
      JSON.stringify(change),
    );
  assert.equal(sameLinkStates(one, one.slice(1)), false);
});
