// Text: the few shapes that every readable view is made of: numbers, durations, columns, tones. Pure: a view is
// given what it shows and the time it is, and returns text; whether there are colours is the caller's choice.

/** What a piece of text says about the thing it names. */
export type Tone = "plain" | "bold" | "dim" | "good" | "warn" | "bad";

/** Puts a tone on text. */
export type Style = (tone: Tone, text: string) => string;

/** No colours: for files, pipes, tests and whoever sets NO_COLOR. */
export const plainStyle: Style = (_tone, text) => text;

/** SGR parameters (ECMA-48 §8.3.117). */
const parameters: Readonly<Record<Tone, string>> = {
  plain: "",
  bold: "1",
  dim: "2",
  good: "32",
  warn: "33",
  bad: "1;31",
};

export const colourStyle: Style = (tone, text) =>
  tone === "plain" || text === "" ? text : `\u001b[${parameters[tone]}m${text}\u001b[0m`;

/** A cell of a table: text alone, or with its tone. */
export type Cell = string | { readonly text: string; readonly tone: Tone };

const textOf = (cell: Cell): string => printable(typeof cell === "string" ? cell : cell.text);
const toneOf = (cell: Cell): Tone => (typeof cell === "string" ? "plain" : cell.tone);

/** Control characters become `?`: what came from the network never reaches the terminal as a command. */
export function printable(text: string): string {
  let out = "";
  for (const character of text) {
    const code = character.codePointAt(0)!;
    out += code < 0x20 || (code >= 0x7f && code < 0xa0) ? "?" : character;
  }
  return out;
}

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/**
 * Rows in columns as wide as their widest cell, two spaces between, `indent` spaces before; no spaces at the end of
 * a line. Titles are left out where all of them are empty. Ends without a line feed.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  style: Style,
  indent = 0,
): string {
  const titled = columns.some((column) => column.title !== "");
  const head: readonly Cell[] = columns.map((column) => ({ text: column.title, tone: "dim" as const }));
  const all = titled ? [head, ...rows] : rows;
  const widths = columns.map((_, index) =>
    Math.max(0, ...all.map((row) => [...textOf(row[index] ?? "")].length)),
  );
  return all
    .map((row) => {
      let line = "";
      let gap = " ".repeat(indent);
      columns.forEach((column, index) => {
        const cell = row[index] ?? "";
        const text = textOf(cell);
        const padding = " ".repeat(widths[index]! - [...text].length);
        if (text !== "") line += gap + (column.align === "right" ? padding : "") + style(toneOf(cell), text);
        if (text === "") gap += `${padding}  `;
        else gap = `${column.align === "right" ? "" : padding}  `;
      });
      return line;
    })
    .join("\n");
}

/** 20412 -> `20,412`. */
export function count(value: number): string {
  const digits = String(Math.trunc(Math.abs(value)));
  const groups: string[] = [];
  for (let end = digits.length; end > 0; end -= 3) groups.unshift(digits.slice(Math.max(0, end - 3), end));
  return (value < 0 ? "-" : "") + groups.join(",");
}

/** `1 link`, `2 links`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A share in percent that never rounds up to 100 nor down to 0: `99.9 %` of 19,999 in 20,000 is not all of it. */
export function percent(part: number, whole: number): string {
  if (whole === 0 || part === whole) return "100 %";
  const value = Math.min(99.9, Math.max(part > 0 ? 0.1 : 0, (part / whole) * 100));
  return `${value.toFixed(1)} %`;
}

const UNITS = [
  { name: "d", ms: 86_400_000 },
  { name: "h", ms: 3_600_000 },
  { name: "min", ms: 60_000 },
  { name: "s", ms: 1000 },
] as const;

/** `0.4 ms`, `51 ms`, `1.2 s`, `14 s`, `3 min 5 s`, `2 h 4 min`, `3 d 4 h`: two units at most. */
export function duration(ms: number): string {
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 1000) return `${Math.floor(ms)} ms`;
  if (ms < 10_000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const index = UNITS.findIndex((unit) => ms >= unit.ms);
  const large = UNITS[index]!;
  const small = UNITS[index + 1];
  const first = `${Math.floor(ms / large.ms)} ${large.name}`;
  const rest = small === undefined ? 0 : Math.floor((ms % large.ms) / small.ms);
  return rest === 0 ? first : `${first} ${rest} ${small!.name}`;
}

/** `2026-11-20T13:22:01.123Z` -> `2026-11-20 13:22:01 UTC, 2 h 4 min ago`; unreadable text is returned as it is. */
export function moment(iso: string, nowMs: number): string {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return printable(iso);
  // Logs of other machines are compared with it: UTC, said so.
  const stamp = `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  return nowMs >= at ? `${stamp}, ${duration(nowMs - at)} ago` : stamp;
}

/** Long text in lines of at most `width` characters, each begun with `indent` spaces. Words are never cut. */
export function wrap(text: string, width: number, indent = 0): string {
  const lines: string[] = [];
  let line = "";
  for (const word of printable(text).split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width - indent) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  if (line !== "") lines.push(line);
  return lines.map((each) => " ".repeat(indent) + each).join("\n");
}
