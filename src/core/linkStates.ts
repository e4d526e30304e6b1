// What this node makes of its links, in the words that go to the other one (docs/protocol.md §5.6): up, down, disabled, why and
// since when. A state that goes on keeps its beginning, over a takeover too: the new active continues the old one's list.
// Pure: the time comes in as an argument.

import type { LinkState } from "../wire/messagesNode.ts";
import type { LinkConfig } from "./config.ts";

/** What is seen of a link's port; absent where nobody looks (a link that is not in use). */
export interface SeenSegment {
  readonly name: string;
  readonly carrier: boolean;
}

type Verdict = Pick<LinkState, "state" | "reason">;

function verdictOf(link: Pick<LinkConfig, "name" | "enabled">, segments: readonly SeenSegment[]): Verdict {
  if (!link.enabled) return { state: "disabled", reason: "configuration" };
  const seen = segments.find(({ name }) => name === link.name);
  if (seen === undefined) return { state: "unknown", reason: "none" };
  return seen.carrier ? { state: "up", reason: "none" } : { state: "down", reason: "carrier" };
}

/**
 * The state of every link at `nowMs` (milliseconds since 1970). `before`: the list so far, this node's own or the one that the
 * former active told; null: none.
 */
export function linkStatesOf(
  links: readonly Pick<LinkConfig, "id" | "name" | "enabled">[],
  segments: readonly SeenSegment[],
  before: readonly LinkState[] | null,
  nowMs: number,
): readonly LinkState[] {
  return links.map((link): LinkState => {
    const verdict = verdictOf(link, segments);
    const last = before?.find((each) => each.link === link.id);
    const goesOn = last?.state === verdict.state && last.reason === verdict.reason;
    return { link: link.id, ...verdict, since: goesOn ? last.since : nowMs, detail: "" };
  });
}

/** Whether two lists say the same; neither is longer for a link that the other lacks. */
export function sameLinkStates(one: readonly LinkState[], other: readonly LinkState[]): boolean {
  return (
    one.length === other.length &&
    one.every((each, index) => {
      const beside = other[index]!;
      return (
        each.link === beside.link &&
        each.state === beside.state &&
        each.reason === beside.reason &&
        each.since === beside.since &&
        each.detail === beside.detail
      );
    })
  );
}
