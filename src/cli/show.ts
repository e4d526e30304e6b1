// `understudy show pair|links|sessions|alarms`: asks the daemon and draws what it answers.

import { SESSIONS_SHOWN_MAX } from "../base/limits.ts";
import { renderAlarms } from "../views/alarms.ts";
import { renderLinks } from "../views/links.ts";
import { renderPair, verdictOf } from "../views/pair.ts";
import { renderSessions } from "../views/sessions.ts";
import type { SessionFilter } from "../wire/control.ts";
import { askDaemon } from "./ask.ts";
import type { Terminal } from "./terminal.ts";

export type Shown = "pair" | "links" | "sessions" | "alarms";

export interface ShowOptions {
  readonly node: string;
  readonly json: boolean;
  readonly filter: SessionFilter;
  /** 1 to SESSIONS_SHOWN_MAX. */
  readonly limit: number;
}

/** Draws one view; returns when it is written. With `json`: one object, the view's own fields. */
export async function show(what: Shown, options: ShowOptions, terminal: Terminal): Promise<void> {
  const { node, json, filter } = options;
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
    case "alarms": {
      const { view } = answer;
      return write(view, () => renderAlarms(view, { nowMs: terminal.nowMs(), style }));
    }
    case "links":
      return write({ links: answer.links }, () => renderLinks(answer.links, { style }));
    case "sessions": {
      const { sessions, total, truncated } = answer;
      return write({ sessions, total, truncated }, () =>
        renderSessions({ sessions, total, truncated }, { style }),
      );
    }
    case "done":
      throw new Error(`the daemon answered "${answer.kind}" to show ${what}`);
  }
}
