// The certificate in a real handshake: TLS 1.3 on loopback, both ends with Ed25519, each reading the other's key.
// What is built upon it (preamble, refusals, frames) is tested with connection.ts.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { connect, createServer, type TLSSocket, type TlsOptions } from "node:tls";
import { type Identity, identityOf, peerKeyOf } from "../../src/peer/identity.ts";

const only13 = { minVersion: "TLSv1.3", maxVersion: "TLSv1.3", rejectUnauthorized: false } as const;

/** One handshake; what each end says of the other, and the protocol. */
async function shake(server: Identity["tls"], client: Partial<Identity["tls"]>, options: TlsOptions = {}) {
  const listener = createServer({ ...only13, ...server, requestCert: true, ...options });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const accepted = once(listener, "secureConnection") as Promise<[TLSSocket]>;
  const socket = connect({
    ...only13,
    ...client,
    host: "127.0.0.1",
    port: (listener.address() as AddressInfo).port,
  });
  await once(socket, "secureConnect");
  const [inside] = await accepted;
  const seen = { byServer: peerKeyOf(inside), byClient: peerKeyOf(socket), protocol: socket.getProtocol() };
  socket.destroy();
  inside.destroy();
  listener.close();
  await once(listener, "close");
  return seen;
}

test("each end learns the other's key, over TLS 1.3", async () => {
  const a = identityOf(generateKeyPairSync("ed25519").privateKey);
  const b = identityOf(generateKeyPairSync("ed25519").privateKey);
  const seen = await shake(a.tls, b.tls);
  assert.deepEqual(seen, { byServer: b.publicKey, byClient: a.publicKey, protocol: "TLSv1.3" });
});

test("a client without a certificate, or with another kind of key, has no key at all", async () => {
  const a = identityOf(generateKeyPairSync("ed25519").privateKey);
  assert.equal((await shake(a.tls, {})).byServer, null);
});

test("a certificate that was copied is of no use without its key", () => {
  const a = identityOf(generateKeyPairSync("ed25519").privateKey);
  const thief = identityOf(generateKeyPairSync("ed25519").privateKey);
  assert.throws(
    () => createServer({ ...only13, key: thief.tls.key, cert: a.tls.cert }),
    /key values mismatch/,
  );
});
