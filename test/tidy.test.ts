// The rules of the house, as a test: who may import whom and why, what a pure room may not know, how large a file may
// grow, how it opens, what is written nowhere. A rule may have exceptions; each has a reason, and one that is no
// longer needed fails as well. (Types, style and the length of functions are the business of tsc and Biome.)

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const home = fileURLToPath(new URL("..", import.meta.url));

/** What git knows of or would take in, without what it ignores: a newcomer's clone, plus the work at hand. */
const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: home })
  .toString()
  .split("\n")
  .filter((file) => file !== "" && existsSync(join(home, file)));
const textOf = new Map(files.map((file) => [file, readFileSync(join(home, file), "utf8")]));
const sources = files.filter((file) => file.startsWith("src/") && file.endsWith(".ts"));
const tests = files.filter((file) => file.startsWith("test/") && file.endsWith(".ts"));
const code = [...sources, ...tests];
/** This file names what it bans. */
const self = "test/tidy.test.ts";

/** Rooms, what each may import of our own, and why. Rooms that are not listed here do not exist. */
const rooms: Readonly<
  Record<string, { readonly pure: boolean; readonly may: readonly string[]; readonly why: string }>
> = {
  base: { pure: true, may: [], why: "everybody leans on it, so it leans on nobody" },
  wire: { pure: true, may: ["base"], why: "bytes and values, without knowing what they are for" },
  core: {
    pure: true,
    may: ["base", "wire:types"],
    why: "it decides on values; how they travel is wire's business",
  },
  views: { pure: true, may: ["base", "core", "wire:types"], why: "it draws what it is given" },
  kernel: { pure: false, may: ["base", "wire", "core", "views"], why: "Linux alone; the daemon wires it" },
  peer: { pure: false, may: ["base", "wire", "core", "views"], why: "port 1148 alone; the daemon wires it" },
  links: { pure: false, may: ["base", "wire", "core", "views"], why: "probes alone; the daemon wires them" },
  apps: {
    pure: false,
    may: ["base", "wire", "core", "views"],
    why: "packet copies alone; the daemon wires them",
  },
  admin: {
    pure: false,
    may: ["base", "wire", "core", "views"],
    why: "files and sockets alone; the daemon wires them",
  },
  cli: { pure: false, may: ["*"], why: "a command wires what it needs" },
  daemon: { pure: false, may: ["*"], why: "the daemon sees everything and decides nothing" },
  heart: { pure: false, may: ["*"], why: "heart wires the election to the kernel" },
  lab: { pure: false, may: ["*"], why: "the laboratory runs and watches everything" },
};

/** `src/kernel/libc.ts` -> `kernel`; `src/heart.ts` -> `heart`. */
const roomOf = (file: string): string => (/^src\/([^/.]+)/.exec(file)?.[1] ?? "").trim();

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

/** Comments and the text inside quotes are no code. Good enough for files that Biome has formatted. */
const bare = (text: string): string =>
  text
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/(^|[^:"'`\\])\/\/.*$/gm, "$1")
    .replaceAll(/"(?:[^"\\\n]|\\.)*"/g, '""');

function importsOf(file: string): Import[] {
  const text = textOf.get(file)!.replaceAll(/^\s*\/\/.*$/gm, "");
  const found = [
    ...text.matchAll(/^(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm),
    ...text.matchAll(/\bimport\((?<empty>)"([^"]+)"/g),
  ];
  return found.map(([statement, type, to]) => ({
    from: file,
    to: to!.startsWith(".") ? join(dirname(file), to!) : to!,
    typeOnly: type?.startsWith("type") === true || onlyTypesNamed(statement),
  }));
}

/** `import { type A, type B } from "x"`. */
function onlyTypesNamed(statement: string): boolean {
  const names =
    /\{([^}]*)\}/
      .exec(statement)?.[1]
      ?.split(",")
      .map((name) => name.trim()) ?? [];
  const given = names.filter((name) => name !== "");
  return (
    given.length > 0 && given.every((name) => name.startsWith("type ")) && !/^import\s+\w/.test(statement)
  );
}

const imports = code.flatMap(importsOf);
const own = imports.filter(({ to }) => /^(src|test|bench)\//.test(to));

/** Fails where something breaks the rule without being excepted, and where an exception is not needed any more. */
function hold(
  rule: string,
  broken: readonly string[],
  exceptions: Readonly<Record<string, string>> = {},
): void {
  const offenders = [...new Set(broken)].filter((each) => !Object.hasOwn(exceptions, each));
  const stale = Object.keys(exceptions).filter((each) => !broken.includes(each));
  assert.deepEqual({ offenders, stale }, { offenders: [], stale: [] }, rule);
}

test("every room is known", () => {
  hold(
    "a file belongs to a room of the table",
    sources.filter((file) => !Object.hasOwn(rooms, roomOf(file))),
  );
});

test("rooms import whom they may", () => {
  const reasons = Object.entries(rooms)
    .map(([room, { may, why }]) => `${room}: ${may.join(", ") || "nobody"}; ${why}`)
    .join("\n");
  const broken = own
    .filter(({ from, to }) => from.startsWith("src/") && to.startsWith("src/") && roomOf(from) !== roomOf(to))
    .filter(({ from, to, typeOnly }) => {
      const may = rooms[roomOf(from)]?.may ?? [];
      const room = roomOf(to);
      return !(may.includes("*") || may.includes(room) || (typeOnly && may.includes(`${room}:types`)));
    })
    .map(({ from, to }) => `${from} imports ${to}`);
  hold(`who may import whom, and why not more:\n${reasons}`, broken, {
    "src/core/replication/changedKeys.ts imports src/wire/session.ts":
      "sessions travel as bytes: their keys are hashed where they lie, without an object for one",
    "src/core/replication/changedKeys.ts imports src/wire/sessionRefresh.ts":
      "and their times read, on the same walk",
  });
});

test("nothing imports the tests, and tests import no test file", () => {
  hold(
    "helpers of tests are files without .test",
    own
      .filter(
        ({ from, to }) => (from.startsWith("src/") && !to.startsWith("src/")) || to.endsWith(".test.ts"),
      )
      .map(({ from, to }) => `${from} imports ${to}`),
  );
});

test("no import leads back to where it began", () => {
  const next = new Map<string, string[]>();
  for (const { from, to } of own) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const cycles: string[] = [];
  const walk = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
    if (done.has(file) || path.includes(file)) return;
    for (const to of next.get(file) ?? []) walk(to, [...path, file]);
    done.add(file);
  };
  for (const file of code) walk(file, []);
  hold("no cycles", cycles);
});

test("every import is there and says .ts", () => {
  hold(
    "imports name files",
    own
      .filter(({ to }) => !textOf.has(to) || !to.endsWith(".ts"))
      .map(({ from, to }) => `${from} imports ${to}`),
  );
});

test("no barrels, no re-export of everything", () => {
  const barrel = (file: string): boolean => {
    const text = bare(textOf.get(file)!);
    return (
      /^export \*/m.test(text) ||
      (/^export \{[^}]*\} from/m.test(text) && !/^(export )?(async )?(function|const|class)/m.test(text))
    );
  };
  hold("a name is imported from where it is made", code.filter(barrel));
});

/** What a pure room may not know, and the reason that is told to who tries. */
const impure: readonly (readonly [RegExp, string])[] = [
  [/\bDate\.now\b|\bnew Date\(\)|\bperformance\b/, "a clock: time comes in as an argument"],
  [/\bMath\.random\b|\bcrypto\b/, "chance: it comes in as a seed or as bytes"],
  [/\bawait\b|\basync\b|\bPromise\b/, "waiting: a machine returns, its driver waits"],
  [/\bset(Timeout|Interval|Immediate)\b|\bqueueMicrotask\b/, "a timer: a machine states its deadline"],
  [/\bprocess\b\.|\bBuffer\b|\bfetch\b/, "the platform: Uint8Array and DataView do"],
];

test("pure rooms know no clock, no chance, no waiting, no platform", () => {
  const pure = sources.filter((file) => rooms[roomOf(file)]?.pure);
  const broken = pure.flatMap((file) =>
    impure
      .filter(([pattern]) => pattern.test(bare(textOf.get(file)!)))
      .map(([, why]) => `${file} knows ${why}`),
  );
  const outside = imports.filter(({ from, to }) => pure.includes(from) && !to.startsWith("src/"));
  hold("purity", [...broken, ...outside.map(({ from, to }) => `${from} imports ${to}`)]);
});

/** Written nowhere in code, and why. */
const banned: readonly (readonly [RegExp, string])[] = [
  [/\bconsole\.|\bdebugger\b/, "output goes through the terminal, the log or the test's own report"],
  [/@ts-(ignore|nocheck|expect-error)/, "a type that does not hold is mended, not silenced"],
  [/\bas any\b|: any\b|<any>/, "any is no type"],
  [/^\s*(export )?(const )?(enum|namespace) \w+ \{/m, "types must be erasable"],
  [/^export default\b/m, "a thing has one name, also where it is imported"],
];

test("banned in code", () => {
  const broken = code
    .filter((file) => file !== self)
    .flatMap((file) =>
      banned.filter(([pattern]) => pattern.test(bare(textOf.get(file)!))).map(([, why]) => `${file}: ${why}`),
    );
  hold("what is written nowhere", broken);
});

test("tests do not sleep, do not depend on chance, are not switched off", () => {
  const patterns: readonly (readonly [RegExp, string])[] = [
    [
      /timers\/promises|setTimeout\(resolve|\bsleep\(/,
      "sleeps: wait for what should happen, or use virtual time",
    ],
    [/\bMath\.random\b/, "draws without a seed: a failure could not be replayed"],
    [/\b(test|it|describe)\.only\(/, "runs alone"],
    [/\bcatch\b[^{]*\{[^}]*\bassert\b/, "asserts inside catch: it passes where nothing was thrown"],
  ];
  // Helpers (files without .test) may poll; a test itself has no business with timers.
  const broken = tests
    .filter((file) => file !== self && file.endsWith(".test.ts"))
    .flatMap((file) => {
      const text = textOf.get(file)!.replaceAll(/^\s*\/\/.*$/gm, "");
      return patterns.filter(([pattern]) => pattern.test(text)).map(([, why]) => `${file} ${why}`);
    });
  hold("tests", broken);
});

const LINES_MAX = 500;

test(`files have at most ${LINES_MAX} lines`, () => {
  const long = code.filter((file) => textOf.get(file)!.split("\n").length - 1 > LINES_MAX);
  hold("look for the second idea in a long file", long, {});
});

test("a file opens with what it is, why it exists, what it may not do", () => {
  const opening = (file: string): string => {
    const lines = textOf
      .get(file)!
      .replace(/^#!.*\n/, "")
      .split("\n");
    const end = lines.findIndex((line) => !line.startsWith("//"));
    return lines.slice(0, end === -1 ? lines.length : end).join(" ");
  };
  hold(
    "a sentence at the least",
    code.filter(
      (file) => opening(file).length < (file.startsWith("src/") ? 60 : 40) || !/[.:]/.test(opening(file)),
    ),
  );
});

test("no unfinished business, no private places", () => {
  // Put together so that this file does not find itself.
  const words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|");
  const marker = new RegExp(`\\b(${words})\\b`);
  const place = new RegExp(
    `(^|[\\s"'\`(=:])/(${["ro" + "ot", "ho" + "me/\\w+", "wo" + "rk"].join("|")})/`,
    "m",
  );
  const host = new RegExp(`https?://[^/\\s"]*${["regis" + "try", "art" + "ifact"].join("|")}`);
  const texts = files.filter((file) => !/\.(hex|png|svg|lock)$|package-lock\.json$|^LICENSE$/.test(file));
  const broken = texts.flatMap((file) =>
    (
      [
        [marker, "unfinished business belongs into an issue"],
        [place, "the path of one machine"],
        [host, "where packages come from is the installer's business"],
      ] as const
    )
      .filter(([pattern]) => pattern.test(textOf.get(file)!))
      .map(([pattern, why]) => `${file}: ${pattern.exec(textOf.get(file)!)?.[0]?.trim()}: ${why}`),
  );
  hold("what does not belong into the repository", broken);
});

test("documents that code cites are there, with the section that it names", () => {
  const broken = files
    .filter((file) => /\.(ts|md)$|^(bin|packaging)\/|^Makefile$/.test(file))
    .flatMap((file) =>
      [...textOf.get(file)!.matchAll(/\bdocs\/([\w-]+\.md)(?: §(\d+))?/g)]
        .filter(([, name, section]) => {
          const text = textOf.get(`docs/${name}`);
          return (
            text === undefined ||
            (section !== undefined && !new RegExp(`^#+ ${section}\\.? `, "m").test(text))
          );
        })
        .map(([cited]) => `${file} cites ${cited}`),
    );
  hold("facts live in one place, and it exists", broken);
});

test("the lock files list the binaries of every platform", () => {
  // `npm ci` refuses a lock file from which optional packages are missing that could not be had when it was written.
  const broken = files
    .filter((file) => file.endsWith("package-lock.json"))
    .flatMap((file) => {
      const { packages } = JSON.parse(textOf.get(file)!) as {
        packages: Record<string, { optionalDependencies?: Record<string, string> }>;
      };
      return Object.values(packages)
        .flatMap((each) => Object.keys(each.optionalDependencies ?? {}))
        .filter((name) => !Object.hasOwn(packages, `node_modules/${name}`))
        .map((name) => `${file} lacks ${name}`);
    });
  hold("lock files", broken);
});
