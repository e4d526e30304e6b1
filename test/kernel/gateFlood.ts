// A process that sends one frame from the service interface as fast as it can, until it is ended: what the gate lets
// through for a microsecond is seen at the cable's other end. Argument: the frame, in hexadecimal digits. It ends by itself where
// nobody ends it.

import { openTap } from "./frames.ts";

const LIFE_MS = 20_000;
const service = openTap("us-lan", 0);
const frame = Uint8Array.from(Buffer.from(process.argv[2] ?? "", "hex"));
process.stdout.write("sending\n");
const until = performance.now() + LIFE_MS;
while (performance.now() < until) service.send(frame);
