// `understudy show pair|readiness|links|sessions|alarms`: asks the daemon and draws what it answers.

import { BoundaryError, ExitCode } from "../base/errors.ts";
import { SESSIONS_SHOWN_MAX } from "../base/limits.ts";
import { renderAlarms } from "../views/alarms.ts";
import { renderLinks } from "../views/links.ts";
import { renderPair, verdictOf } from "../views/pair.ts";
import { readinessText, renderReadiness } from "../views/readiness.ts";
import { renderSessions } from "../views/sessions.ts";
import type { SessionFilter } from "../wire/control.ts";
import { askDaemon } from "./ask.ts";
import { CommandFailure } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

export type Shown = "pair" | "readiness" | "links" | "sessions" | "alarms";

export interface ShowOptions {
  readonly node: string;
  readonly json: boolean;
  readonly filter: Omit<SessionFilter, "link">;
  /** Id or name of a link, for sessions through it; null: any. */
  readonly link: string | null;
  /** 1 to SESSIONS_SHOWN_MAX. */
  readonly limit: number;
}

/** The id of a link that the daemon has. Id 0, the node's own sessions, is no link, and always there. */
async function linkIdOf(node: string, link: string): Promise<number> {
  if (link === "0") return 0;
  const answer = await askDaemon(node, { kind: "show", what: "links" });
  const links = answer.kind === "links" ? answer.links : [];
  const found = links.find(({ id, name }) => name === link || String(id) === link);
  if (found !== undefined) return found.id;
  const refusal = new BoundaryError({
    operation: `show sessions --link ${link}`,
    code: "UNKNOWN",
    words: `there is no such link; there are: ${links.map(({ id, name }) => `${name} (${id})`).join(", ") || "none"}`,
  });
  throw new CommandFailure(refusal, ExitCode.Usage);
}

/** Draws one view; returns when it is written. With `json`: one object, the view's own fields. */
export async function show(what: Shown, options: ShowOptions, terminal: Terminal): Promise<void> {
  const { node, json, link } = options;
  const filter = link === null ? options.filter : { link: await linkIdOf(node, link), ...options.filter };
  const limit = Math.min(options.limit, SESSIONS_SHOWN_MAX);
  const { style } = terminal;
  const write = (value: object, text: () => string): void =>
    terminal.out(json ? `${JSON.stringify(value)}\n` : text());
  const answer =
    what === "sessions"
      ? await askDaemon(node, { kind: "show", what, filter, limit })
      : await askDaemon(node, { kind: "show", what });
  switch (answer.kind) {
    case "pair": {
      const { view } = answer;
      return write({ ...view, verdict: verdictOf(view) }, () =>
        renderPair(view, { nowMs: terminal.nowMs(), style }),
      );
    }
    case "readiness": {
      const { view } = answer;
      return write({ ...view, text: readinessText(view) }, () =>
        renderReadiness(view, { nowMs: terminal.nowMs(), style }),
      );
    }
    case "alarms": {
      const { view } = answer;
      return write(view, () => renderAlarms(view, { nowMs: terminal.nowMs(), style }));
    }
    case "links":
      return write({ links: answer.links }, () =>
        renderLinks(answer.links, { nowMs: terminal.nowMs(), style }),
      );
    case "sessions": {
      const { sessions, total, truncated } = answer;
      return write({ sessions, total, truncated }, () =>
        renderSessions({ sessions, total, truncated }, { style }),
      );
    }
    default:
      throw new Error(`the daemon answered "${answer.kind}" to show ${what}`);
  }
}
