// Readiness in a heartbeat: beside the segments, in bits that version 1 passes over.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SEGMENTS_MAX } from "../../src/base/limits.ts";
import { READINESS_WHOLE, readinessIn, segmentsIn, withReadiness } from "../../src/base/readiness.ts";
import { scoreOf } from "../../src/core/election/score.ts";
import { decodeHeartbeat, encodeHeartbeat } from "../../src/wire/heartbeat.ts";
import { words } from "../core/electionHarness.ts";
import * as v1 from "../frozen/v1/peer.ts";

const anySegments = fc.nat({ max: 2 ** SEGMENTS_MAX - 1 });
const anyReadiness = fc.option(fc.nat({ max: READINESS_WHOLE }));

test("segments and readiness share a word, and neither changes the other", () => {
  fc.assert(
    fc.property(anySegments, anyReadiness, (segments, readiness) => {
      const raw = encodeHeartbeat(words({ carrier: withReadiness(segments, readiness) }));
      const decoded = decodeHeartbeat(raw);
      assert.ok(decoded.ok);
      assert.equal(readinessIn(decoded.value.carrier), readiness);
      assert.equal(segmentsIn(decoded.value.carrier), segments);
    }),
  );
});

test("a node of version 1 reads such a heartbeat, and counts the same segments", () => {
  fc.assert(
    fc.property(anySegments, anySegments, anyReadiness, (carrier, witnessed, readiness) => {
      const message = words({ carrier: withReadiness(carrier, readiness), witnessed });
      const old = v1.decodeHeartbeat(encodeHeartbeat(message));
      assert.ok(old.ok);
      assert.equal(scoreOf(old.value.carrier & old.value.witnessed), scoreOf(carrier & witnessed));
    }),
  );
});

test("what a node of version 1 says is no word on readiness; nor is a number that is more than everything", () => {
  assert.equal(readinessIn(0b111), null);
  assert.equal(readinessIn(withReadiness(0b111, READINESS_WHOLE)), READINESS_WHOLE);
  assert.equal(readinessIn(0b111 + (READINESS_WHOLE + 2) * 2 ** SEGMENTS_MAX), null);
  assert.equal(readinessIn(0xffffffff), null);
});
