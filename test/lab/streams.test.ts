// The programs behind thousands of streams, with each other over a namespace's own lo: what is said comes back, the far
// side can speak unasked, ends are ends, and what a server's death does is seen.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { until } from "../../src/lab/clock.ts";
import { startTraffic } from "../../src/lab/traffic/process.ts";
import type { OpenStreams } from "../../src/lab/traffic/streamClients.ts";
import type { StreamCounts, StreamSeen } from "../../src/lab/traffic/streamVerdict.ts";
import { inNamespace } from "../kernel/namespace.ts";

/** A holder's process id: our own, for the children start inside our namespace. */
const here = 0;
const wanted: OpenStreams = {
  hosts: [{ pid: here, name: "h1" }],
  servers: ["127.0.0.1"],
  count: 300,
  rate: 3000,
  talkMs: 0,
  livesMs: 0,
};

suite("streams", { concurrency: 1 }, () => {
  test(
    "idle ones are heard and answered when told to; a server's death fails them all",
    inNamespace,
    async () => {
      const options = { environment: process.env };
      const [servers, clients] = [
        startTraffic("streamServers", options),
        startTraffic("streamClients", options),
      ];
      const seen = (): Promise<{ streams: readonly StreamSeen[] }> => clients.order("report");
      const all = (isRight: (stream: StreamSeen) => boolean): Promise<true | null> =>
        until(10_000, 20, async () => ((await seen()).streams.every(isRight) ? true : null));
      try {
        await servers.order("start", { pid: here, addresses: ["127.0.0.1"] });
        const { opened, failed } = await clients.order<StreamCounts>("open", { ...wanted });
        assert.deepEqual({ opened, failed }, { opened: 300, failed: 0 });
        assert.equal(await all(({ answers }) => answers === 1), true);
        await servers.order("say");
        assert.equal(await all(({ heard, answers }) => heard === 1 && answers === 1), true);
        await clients.order("speak");
        assert.equal(await all(({ heard, answers }) => heard === 1 && answers === 2), true);
        servers.stop();
        assert.equal(await all(({ failure }) => failure !== null), true);
      } finally {
        clients.stop();
        servers.stop();
      }
    },
  );

  test("those with a life talk, end, and fail nowhere", inNamespace, async () => {
    const options = { environment: process.env };
    const [servers, clients] = [
      startTraffic("streamServers", options),
      startTraffic("streamClients", options),
    ];
    try {
      await servers.order("start", { pid: here, addresses: ["127.0.0.1"] });
      await clients.order("open", { ...wanted, talkMs: 20, livesMs: 200 });
      const ended = await until(10_000, 20, async () => {
        const counts = await clients.order<StreamCounts>("counts");
        return counts.closed === 300 ? counts : null;
      });
      assert.equal(ended?.failed, 0);
      const { streams } = await clients.order<{ streams: readonly StreamSeen[] }>("report");
      assert.ok(streams.some(({ answers }) => answers > 3));
    } finally {
      clients.stop();
      servers.stop();
    }
  });
});
