// The hold on another process's event socket: which sockets are meant, and that what was taken from one is given back.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import * as libc from "../../src/kernel/libc.ts";
import { sessionEventInodes, shrinkSessionEvents } from "../../src/lab/foreignSocket.ts";

const HEAD = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode";
const OPENER = `
import * as libc from ${JSON.stringify(fileURLToPath(new URL("../../src/kernel/libc.ts", import.meta.url)))};
import { openSessionEvents } from ${JSON.stringify(fileURLToPath(new URL("../../src/kernel/sessionEvents.ts", import.meta.url)))};
const { fd } = openSessionEvents({ receiveBytes: 100_000 });
const say = () => process.stdout.write(String(libc.getsockoptInt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF)));
process.stdin.on("data", say);
say();
`;

suite("a socket of another process", () => {
  test("only netfilter sockets that hear of new, changed and ended sessions", () => {
    const row = (protocol: number, groups: string, inode: number): string =>
      `0000000000000000 ${protocol}  1234       ${groups} 0        0        0     2        0        ${inode}`;
    const text = [HEAD, row(12, "00000007", 1), row(12, "0000001f", 2), row(12, "00000000", 3)];
    text.push(row(12, "00000003", 4), row(0, "00000007", 5), "");
    assert.deepEqual([...sessionEventInodes(text.join("\n"))], ["1", "2"]);
  });

  test("has next to no room, and then what it had", async (t) => {
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", OPENER], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    t.after(() => child.kill("SIGKILL"));
    const [answer] = (await Promise.race([once(child.stdout, "data"), once(child.stderr, "data")])) as [
      Buffer,
    ];
    if (/EPERM|EPROTONOSUPPORT/.test(answer.toString())) return t.skip(answer.toString());
    const had = Number(answer);
    assert.ok(had >= 100_000, answer.toString());
    const ask = async (): Promise<number> => {
      child.stdin.write("\n");
      return Number(((await once(child.stdout, "data")) as [Buffer])[0]);
    };
    let held: ReturnType<typeof shrinkSessionEvents>;
    try {
      held = shrinkSessionEvents(child.pid!);
    } catch (error) {
      if (error instanceof libc.KernelError && error.code === "EPERM") return t.skip(error.message);
      throw error;
    }
    assert.equal(held.sockets, 1);
    assert.ok((await ask()) < 10_000);
    held.restore();
    assert.equal(await ask(), had);
    held.restore();
    assert.equal(await ask(), had, "given back once");
  });
});
