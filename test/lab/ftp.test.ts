// FTP of the laboratory: where PORT and EPRT want to be called, and lines that come in pieces.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { lineReader, parsePort, portCommand } from "../../src/lab/traffic/ftpServer.ts";

suite("FTP", () => {
  test("PORT and EPRT as RFC 959 §4.1.2 and RFC 2428 §2 write them", () => {
    assert.equal(portCommand("10.20.1.1", 61_001), "PORT 10,20,1,1,238,73");
    assert.equal(portCommand("fd20::1:1", 61_001), "EPRT |2|fd20::1:1|61001|");
    assert.deepEqual(parsePort("PORT", "132,235,1,2,24,131"), { address: "132.235.1.2", port: 6275 });
    assert.deepEqual(parsePort("EPRT", "|1|132.235.1.2|6275|"), { address: "132.235.1.2", port: 6275 });
    assert.deepEqual(parsePort("EPRT", "|2|1080::8:800:200C:417A|5282|"), {
      address: "1080::8:800:200C:417A",
      port: 5282,
    });
  });

  test("what is neither is refused", () => {
    for (const words of ["", "1,2,3,4,5", "1,2,3,4,5,256", "1,2,3,4,5,6,7", "a,b,c,d,e,f"])
      assert.equal(parsePort("PORT", words), null, words);
    for (const words of ["", "|3|10.0.0.1|21|", "|1|10.0.0.1|21", "|2|::g|21|"])
      assert.equal(parsePort("EPRT", words), null, words);
  });

  test("what one end asks for is what the other one reads", () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(address, fc.integer({ min: 0, max: 65_535 }), (where, port) => {
        // IPv4 in the tail of an IPv6 address is no notation of EPRT's.
        fc.pre(!(where.includes(":") && where.includes(".")));
        const [verb = "", words = ""] = portCommand(where, port).split(" ");
        assert.deepEqual(parsePort(verb, words), { address: where, port });
      }),
    );
  });

  test("a line is taken when it is whole, in whatever pieces it comes", () => {
    const lines = ["220 laboratory", "", "331 and the password?"];
    const bytes = new TextEncoder().encode(lines.map((line) => `${line}\r\n`).join(""));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 8 }), (cuts) => {
        const taken: string[] = [];
        const read = lineReader((line) => taken.push(line));
        const places = [0, ...cuts.toSorted((one, other) => one - other), bytes.length];
        places.slice(1).forEach((end, index) => {
          read(bytes.subarray(places[index], end));
        });
        assert.deepEqual(taken, lines);
      }),
    );
  });
});
