// /proc/net/{tcp,tcp6,udp,udp6} as values: who has a socket where. The tables print addresses as words in the
// host's byte order, in hexadecimal (linux: net/ipv4/tcp_ipv4.c get_tcp4_sock, net/ipv6/tcp_ipv6.c). Pure.

import { formatAddress } from "../base/addresses.ts";

export interface SocketRow {
  readonly address: string;
  readonly port: number;
  /** TCP_LISTEN is 10; an unconnected UDP socket is 7 (linux: include/net/tcp_states.h). */
  readonly state: number;
  /** Names the socket in /proc/PID/fd; 0 where it belongs to no process any more. */
  readonly inode: number;
}

export const TCP_LISTEN = 10;

/** The bytes of a printed address, or null where it is none: 8 or 32 hexadecimal digits. */
function addressBytes(hex: string, littleEndian: boolean): Uint8Array | null {
  if (!/^(?:[0-9A-Fa-f]{8}){1,4}$/.test(hex) || (hex.length !== 8 && hex.length !== 32)) return null;
  const bytes = new Uint8Array(hex.length / 2);
  const view = new DataView(bytes.buffer);
  for (let word = 0; word * 8 < hex.length; word += 1)
    view.setUint32(word * 4, Number.parseInt(hex.slice(word * 8, word * 8 + 8), 16), littleEndian);
  return bytes;
}

/** Every socket of one table; a line that is not understood is left out, as a newer kernel may print more. */
export function readSocketTable(text: string, littleEndian: boolean): SocketRow[] {
  const rows: SocketRow[] = [];
  for (const line of text.split("\n").slice(1)) {
    const fields = line.trim().split(/\s+/);
    const [hexAddress = "", hexPort = ""] = (fields[1] ?? "").split(":");
    const bytes = addressBytes(hexAddress, littleEndian);
    const [port, state, inode] = [
      Number.parseInt(hexPort, 16),
      Number.parseInt(fields[3] ?? "", 16),
      Number(fields[9]),
    ];
    if (bytes === null || Number.isNaN(port) || Number.isNaN(state) || !Number.isSafeInteger(inode)) continue;
    rows.push({ address: formatAddress(bytes), port, state, inode });
  }
  return rows;
}
