// The netlink socket against the real kernel, inside a network namespace of its own (test/kernel/namespace.ts).

import assert from "node:assert/strict";
import { test } from "node:test";
import { errno, KernelError } from "../../src/kernel/libc.ts";
import { NetlinkSocket } from "../../src/kernel/netlink.ts";
import {
  HOST_LITTLE_ENDIAN,
  MessageWriter,
  NETLINK_ROUTE,
  NLM_F_CREATE,
  NLM_F_EXCL,
  readAttributes,
  readText,
} from "../../src/wire/netlink.ts";
import { inNamespace } from "./namespace.ts";

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTMGRP_LINK = 1;
const IFLA_IFNAME = 3;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFINFOMSG_BYTES = 16;

function addLink(name: string, kind: string): MessageWriter {
  return new MessageWriter(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
    .fixed(new Uint8Array(IFINFOMSG_BYTES))
    .text(IFLA_IFNAME, name)
    .nested(IFLA_LINKINFO, (writer) => writer.text(IFLA_INFO_KIND, kind));
}

function names(socket: NetlinkSocket): string[] {
  const links = socket.dump(
    "list interfaces",
    new MessageWriter(RTM_GETLINK).fixed(new Uint8Array(IFINFOMSG_BYTES)),
  );
  return links.map((link) => {
    const name = readAttributes(link.payload.subarray(IFINFOMSG_BYTES))?.get(IFLA_IFNAME);
    return name === undefined ? "?" : readText(name);
  });
}

test("requests, dumps, notifications and refusals", inNamespace, () => {
  const socket = new NetlinkSocket(NETLINK_ROUTE);
  const events = new NetlinkSocket(NETLINK_ROUTE, { groups: [RTMGRP_LINK] });
  try {
    assert.deepEqual(names(socket), ["lo"]);
    assert.equal(socket.request("create bridge br-test", addLink("br-test", "bridge")), 0);
    assert.deepEqual(names(socket), ["lo", "br-test"]);
    const heard = events.receive();
    assert.equal(heard.overrun, false);
    assert.equal(heard.messages[0]?.type, RTM_NEWLINK);

    // What exists already is a value for who asks, an error with object and words for who does not.
    const again = addLink("br-test", "bridge");
    assert.equal(socket.request("create bridge br-test", again, { allow: [errno.EEXIST] }), errno.EEXIST);
    assert.throws(
      () => socket.request("create bridge br-test", addLink("br-test", "bridge")),
      (error: unknown) =>
        error instanceof KernelError &&
        error.code === "EEXIST" &&
        error.operation === "create bridge br-test",
    );
    const unknown = addLink("br-other", "no-such-kind");
    assert.throws(
      () => socket.request("create br-other", unknown),
      (error: unknown) =>
        error instanceof KernelError && error.code === "EOPNOTSUPP" && error.words === "Unknown device type",
    );
    const found = socket.get(
      "read interface lo",
      new MessageWriter(RTM_GETLINK).fixed(new Uint8Array(IFINFOMSG_BYTES)).text(IFLA_IFNAME, "lo"),
    );
    const index = new DataView(found[0]!.payload.buffer).getInt32(4, HOST_LITTLE_ENDIAN);
    assert.equal(index, 1);
    const absent = new MessageWriter(RTM_DELLINK)
      .fixed(new Uint8Array(IFINFOMSG_BYTES))
      .text(IFLA_IFNAME, "none");
    assert.equal(
      socket.request("delete none", absent, { allow: [errno.ENODEV, errno.ENOENT] }),
      errno.ENODEV,
    );
  } finally {
    socket.close();
    events.close();
  }
});
