// /proc/net tables: what the kernel prints, byte for byte as captured, in both byte orders.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readSocketTable, TCP_LISTEN } from "../../src/wire/procNet.ts";

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:047C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0000000000000000 100 0 0 10 0
   1: 0200FF0A:D431 0300FF0A:047C 01 00000000:00000000 02:00000A2B 00000000     0        0 0 2 0000000000000000 20 4 30 10 -1
`;
const UDP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1148: 000020FD000000000000000001000000:047C 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
`;

test("IPv4 and IPv6 rows, little-endian", () => {
  assert.deepEqual(readSocketTable(TCP, true), [
    { address: "127.0.0.1", port: 1148, state: TCP_LISTEN, inode: 31_337 },
    { address: "10.255.0.2", port: 0xd431, state: 1, inode: 0 },
  ]);
  assert.deepEqual(readSocketTable(UDP6, true), [{ address: "fd20::1", port: 1148, state: 7, inode: 4711 }]);
});

test("the same words on a big-endian machine", () => {
  const big = TCP.replace("0100007F", "7F000001").replace("0200FF0A", "0AFF0002");
  assert.deepEqual(
    readSocketTable(big, false).map(({ address }) => address),
    ["127.0.0.1", "10.255.0.2"],
  );
});

test("what is not understood is left out", () => {
  assert.deepEqual(readSocketTable("", true), []);
  assert.deepEqual(readSocketTable("head\nnonsense\n 0: 01:02 03:04 0A\n 1: 0100007F:04", true), []);
});
