// The text of an nftables table in its two shapes: as a block (`table inet x { ... }`), which makes the table, and as
// commands (`add chain inet x ...`), which fill one that is there. A table with an owner can only be filled: a block says
// flags of its own, and the kernel refuses to change them. Text only; it knows the blocks that this program writes
// (one object or rule a line, objects not nested), not the whole language of nft.

/** What lies in a table, by name. */
export interface TableContents {
  readonly chains: readonly string[];
  readonly sets: readonly string[];
  readonly maps: readonly string[];
  readonly counters: readonly string[];
  /** Helpers of connection tracking (`ct helper`). */
  readonly helpers: readonly string[];
}

const HEAD = /^table (\S+ \S+) \{$/;
const OBJECT = /^ (set|map|counter|ct helper|chain) (\S+) \{$/;
const OBJECT_END = " }";
/** Lines of a chain that belong to itself; the others are its rules. */
const CHAIN_ITSELF = /^(type |comment )/;

/**
 * The block in `text` as commands: sets, maps, counters and helpers, then chains, then rules, so that nothing is named before it
 * is there. What stands before the block is left out. Throws where the block is written in a way not known here.
 */
export function commandsOf(text: string): string {
  const lines = text.split("\n");
  const start = lines.findIndex((line) => HEAD.test(line));
  if (start < 0) throw new Error("no block `table FAMILY NAME {` in a table's text");
  const table = HEAD.exec(lines[start]!)![1]!;
  const objects: string[] = [];
  const chains: string[] = [];
  const rules: string[] = [];
  for (let at = start + 1; lines[at] !== "}"; at += 1) {
    const line = lines[at];
    if (line === "") continue;
    const [, kind, name] = OBJECT.exec(line ?? "") ?? [];
    const end = lines.indexOf(OBJECT_END, at);
    if (kind === undefined || end < 0) throw new Error(`not an object of a table: ${line}`);
    const body = lines.slice(at + 1, end).filter((each) => each.trim() !== "");
    at = end;
    if (kind !== "chain") {
      objects.push(command(`add ${kind} ${table} ${name}`, body));
      continue;
    }
    const [own, rest] = [body.filter(isOfChain), body.filter((each) => !isOfChain(each))];
    chains.push(command(`add chain ${table} ${name}`, own));
    rules.push(...rest.map((rule) => `add rule ${table} ${name} ${rule.trim()}\n`));
  }
  return [...objects, ...chains, ...rules].join("");
}

const isOfChain = (line: string): boolean => CHAIN_ITSELF.test(line.trimStart());
const command = (head: string, body: readonly string[]): string =>
  body.length === 0 ? `${head}\n` : `${head} {\n${body.join("\n")}\n}\n`;

/** Commands that leave nothing in `table` ("inet understudy") but the table: rules first, which hold everything else. */
export function emptyingText(table: string, contents: TableContents): string {
  const gone = (kind: string, names: readonly string[]): string[] =>
    names.map((name) => `delete ${kind} ${table} ${name}\n`);
  return [
    `flush table ${table}\n`,
    ...gone("chain", contents.chains),
    ...gone("set", contents.sets),
    ...gone("map", contents.maps),
    ...gone("counter", contents.counters),
    ...gone("ct helper", contents.helpers),
  ].join("");
}
