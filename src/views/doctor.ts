// The doctor's findings as text: what is wrong first and in full, what is fine in a line each. Pure.

import type { Finding, Level } from "../core/doctor/judge.ts";
import type { Cell, Style, Tone } from "./text.ts";
import { plural, table, wrap } from "./text.ts";

const WIDTH = 100;
const marks: Readonly<Record<Level, readonly [string, Tone]>> = {
  wrong: ["WRONG", "bad"],
  warning: ["warning", "warn"],
  note: ["note", "dim"],
  fine: ["ok", "good"],
};

function problemText(finding: Finding, style: Style): string {
  const [mark, tone] = marks[finding.level];
  return [
    `${style(tone, mark)}  ${style("bold", finding.subject)}`,
    wrap(finding.text, WIDTH, 4),
    ...(finding.consequence === "" ? [] : [wrap(`It follows: ${finding.consequence}.`, WIDTH, 4)]),
    ...(finding.advice === "" ? [] : [wrap(`What to do: ${finding.advice}`, WIDTH, 4)]),
  ].join("\n");
}

/** The findings as text that ends with a line feed: problems, then what is fine, then the sum. */
export function renderDoctor(findings: readonly Finding[], options: { readonly style: Style }): string {
  const { style } = options;
  const of = (level: Level): Finding[] => findings.filter((each) => each.level === level);
  const problems = [...of("wrong"), ...of("warning"), ...of("note")];
  const fine = of("fine").map((each): Cell[] => [
    { text: marks.fine[0], tone: marks.fine[1] },
    each.subject,
    each.text,
  ]);
  const wrong = of("wrong").length;
  const warnings = of("warning").length;
  const sum = wrong > 0 ? style("bad", `${plural(wrong, "thing")} wrong`) : style("good", "Nothing is wrong");
  return [
    ...problems.map((each) => `${problemText(each, style)}\n`),
    ...(fine.length === 0 ? [] : [`${table([{ title: "" }, { title: "" }, { title: "" }], fine, style)}\n`]),
    `${sum}${warnings === 0 ? "" : `, ${plural(warnings, "warning")}`}.\n`,
  ].join("\n");
}
