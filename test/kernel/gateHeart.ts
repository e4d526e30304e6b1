// A process that holds a gate, for tests that end it: makes or adopts the gate, opens it, says so, and waits. Arguments:
// `open` or `shut`, and the options of the gate as JSON.

import { createGate, type GateOptions } from "../../src/kernel/gate.ts";

const [state, options] = process.argv.slice(2);
const gate = createGate(JSON.parse(options!) as GateOptions);
const adopted = gate.adopt();
if (adopted === null) gate.install();
if (state === "open") gate.open("solo");
process.stdout.write(`${JSON.stringify({ adopted, isProtected: gate.isProtected() })}\n`);
setInterval(() => undefined, 60_000);
