// Two kernels' tables compared by the generator's sessions, as a process of its own: read through netlink, keyed by ports,
// which is what tells them apart. Arguments `ACTIVE-PID STANDBY-PID SERVER`, one line of JSON.

import { parseAddress } from "../src/base/addresses.ts";
import { openSessionScan } from "../src/kernel/sessionDump.ts";
import { inside } from "../src/lab/traffic/sockets.ts";
import { IPPROTO_TCP, IPS_ASSURED, IPS_SEEN_REPLY } from "../src/wire/sessionFields.ts";

export interface TablesCompared {
  readonly active: number;
  readonly standby: number;
  /** On the active, and not on the standby; the other way round; and with another translation. */
  readonly missing: number;
  readonly extra: number;
  readonly wrong: number;
}

/** Protocol and ports of a session with `server` -> the port that it was translated to. */
function readTable(pid: number, server: Uint8Array): Map<number, number> {
  const table = new Map<number, number>();
  const scan = inside(pid, () => openSessionScan({ family: 4 }));
  while (
    scan.next((fields) => {
      const { bytes, originalDestination: at } = fields;
      // A handshake whose last packet was lost is nobody's to replicate: TCP counts from ESTABLISHED on.
      const settled = fields.protocol === IPPROTO_TCP ? IPS_ASSURED : IPS_SEEN_REPLY;
      if ((fields.status & settled) === 0) return true;
      for (let index = 0; index < 4; index += 1) if (bytes[at + index] !== server[index]) return true;
      const key = (fields.protocol * 65536 + fields.originalA) * 65536 + fields.originalB;
      table.set(key, fields.replyB);
      return true;
    })
  );
  scan.close();
  return table;
}

function compare(active: number, standby: number, address: string): TablesCompared {
  const server = parseAddress(address)!.bytes;
  const here = readTable(active, server);
  const there = readTable(standby, server);
  let [missing, wrong, common] = [0, 0, 0];
  for (const [key, port] of here) {
    const other = there.get(key);
    if (other === undefined) missing += 1;
    else {
      common += 1;
      if (other !== port) wrong += 1;
    }
  }
  return { active: here.size, standby: there.size, missing, extra: there.size - common, wrong };
}

if (import.meta.main) {
  const [active, standby, server] = process.argv.slice(2);
  process.stdout.write(`${JSON.stringify(compare(Number(active), Number(standby), server!))}\n`);
}
