// `understudy stop --clean`: the way out where no daemon answers any more. Heart, if it still runs, is asked to leave
// (it hands over where it can, and shuts its gate); then whatever lies in the kernel under our names is removed.
// It never takes anything from a daemon that runs.

import { join } from "node:path";
import { connectControl, controlAnswers } from "../admin/control.ts";
import { BoundaryError, ExitCode } from "../base/errors.ts";
import { undress } from "../kernel/dress.ts";
import { Nftables } from "../kernel/nftables.ts";
import { plural } from "../views/text.ts";
import type { HeartMessage, HeartRequest } from "../wire/control.ts";
import { directoriesOf } from "./ask.ts";
import { listRemains, ourTables } from "./doctorRemains.ts";
import { CommandFailure } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

const LEAVE_MS_MAX = 10_000;
const GONE_MS_MAX = 3000;
const LOOK_MS = 50;

function refuse(code: string, words: string, advice: string): never {
  throw new CommandFailure(
    new BoundaryError({ operation: "clean up", code, words, advice }),
    ExitCode.Failed,
  );
}

async function endHeart(path: string): Promise<boolean> {
  if (!(await controlAnswers(path))) return false;
  const client = await connectControl<HeartRequest, HeartMessage>({ path, server: "heart" });
  // One that ends at once may hang up before its answer is read.
  await client.request({ kind: "leave" }, LEAVE_MS_MAX).catch(() => undefined);
  client.close();
  for (const deadline = performance.now() + GONE_MS_MAX; await controlAnswers(path); ) {
    if (performance.now() > deadline)
      refuse(
        "HEART_STAYS",
        "heart still runs, and does not leave",
        "`ss -ulpn 'sport = 1148'` shows its process: kill -KILL that one, and say this again.",
      );
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return true;
}

/** Removes interfaces, rules, routes and tables, in this order: what is left at any moment forwards nothing. */
function removeAll(stateDirectory: string): readonly string[] {
  const tables = ourTables();
  if (tables === null)
    refuse("UNLISTED", "`nft list tables` does not answer", "Is nftables installed, and are you root?");
  const done = undress({ stateDirectory });
  const nft = new Nftables();
  try {
    for (const { family, name } of tables) {
      nft.run(`remove table ${family} ${name}`, `delete table ${family} ${name}\n`);
      done.push(`table ${family} ${name}: removed`);
    }
  } finally {
    nft.close();
  }
  return done;
}

/** @throws CommandFailure where a daemon runs, or heart does not leave; BoundaryError where the kernel refuses */
export async function clean(
  options: { readonly node: string; readonly json: boolean },
  terminal: Terminal,
): Promise<void> {
  const { runtime, state } = directoriesOf(options.node);
  if (await controlAnswers(join(runtime, "control.sock")))
    refuse(
      "RUNNING",
      "the daemon of this node runs",
      "`understudy stop` takes the node out, with a handover.",
    );
  const heart = await endHeart(join(runtime, "heart.sock"));
  const changes = [...(heart ? ["heart: ended"] : []), ...removeAll(state)];
  const left = listRemains() ?? ["what is left cannot be listed"];
  if (left.length > 0)
    refuse("LEFT", left.join(", "), "Remove these by hand; `understudy doctor` lists them.");
  const message =
    changes.length === 0
      ? "nothing of Understudy was there"
      : `${plural(changes.length, "thing")} removed: nothing of Understudy is left in the kernel`;
  terminal.out(
    options.json
      ? `${JSON.stringify({ done: "clean", message, changes })}\n`
      : `${[...changes, message].join("\n")}\n`,
  );
}
