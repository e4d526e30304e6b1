// The shapes that a configuration may have: scalars, lists, groups of keys. A table built from these (see
// configKeys.ts) is the one source of validation, of the TypeScript type, of the JSON Schema and of the
// documentation. Pure data and builders: nothing here knows a key of ours.

import type { Located } from "./configTree.ts";

/** The part of JSON Schema (draft-07) that we publish. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

export type ScalarValue = string | number | boolean;
/** What reading a scalar gives: its value, or why not (in a few words, put behind what was found). */
export type Reading<T> = { readonly value: T } | { readonly refused: string };

export interface ScalarSpec<T> {
  readonly kind: "scalar";
  /** Its name in the documentation: `duration`. */
  readonly name: string;
  /** Completes `expected ...`. */
  readonly expected: string;
  /** What YAML must have made of it. */
  readonly types: readonly ("string" | "number" | "boolean")[];
  readonly schema: JsonSchema;
  /** Called only with a value of one of `types`. */
  readonly read: (value: ScalarValue) => Reading<T>;
  /** Values of the right type that must be refused, for the tests and never empty unless every value is good. */
  readonly wrong: readonly ScalarValue[];
}

export interface ListSpec<S> {
  readonly kind: "list";
  readonly item: S;
  readonly min: number;
  readonly max: number;
  /** One item may stand without a list around it. */
  readonly single: boolean;
  /** `an address`, for messages: `a list of 1 to 2 ...`. */
  readonly of: string;
}

export interface KeySpec<S> {
  readonly spec: S;
  readonly required: boolean;
  /** What holds where the key is left out; for the documentation. Of a required key: none. */
  readonly otherwise: string | undefined;
  /** What it is and when to use it; a sentence or two, Markdown. */
  readonly about: string;
  /** A good value as YAML (flow style), for documentation and tests. */
  readonly example: string;
}

export interface MapSpec<K extends Keys> {
  readonly kind: "map";
  /** `a link`: completes `another key of ...`. */
  readonly name: string;
  readonly about: string;
  readonly keys: K;
}

/** A group whose keys are the user's own names. */
export interface NamesSpec<T> {
  readonly kind: "names";
  readonly key: ScalarSpec<string>;
  readonly value: ScalarSpec<T>;
  readonly max: number;
}

export interface Keys {
  readonly [key: string]: KeySpec<Spec>;
}

/** Any shape. ScalarSpec<unknown> covers every scalar: `read` only produces its type. */
export type Spec = ScalarSpec<unknown> | ListSpec<Spec> | MapSpec<Keys> | NamesSpec<unknown>;

/** `1 to 2`, `at most 8`: how many items a list has. */
export function countWords({ min, max }: { readonly min: number; readonly max: number }): string {
  return min === 0 ? `at most ${max}` : `${min} to ${max}`;
}

/**
 * The type that a table yields. Every key of a group may be undefined, required ones too: what was missing or
 * wrong has been reported, and the cross checks go on with the rest.
 */
export type ValueOf<S> =
  S extends ScalarSpec<infer T>
    ? T
    : S extends ListSpec<infer Item>
      ? readonly Located<ValueOf<Item>>[]
      : S extends NamesSpec<infer T>
        ? readonly { readonly name: Located<string>; readonly value: Located<T> }[]
        : S extends MapSpec<infer K>
          ? { readonly [P in keyof K]?: Located<ValueOf<K[P]["spec"]>> | undefined }
          : never;

export function list<S extends Spec>(
  item: S,
  of: string,
  bounds: { readonly min: number; readonly max: number; readonly single?: boolean },
): ListSpec<S> {
  return { kind: "list", item, of, single: false, ...bounds };
}

export function group<K extends Keys>(name: string, about: string, keys: K): MapSpec<K> {
  return { kind: "map", name, about, keys };
}

export function names<T>(key: ScalarSpec<string>, value: ScalarSpec<T>, max: number): NamesSpec<T> {
  return { kind: "names", key, value, max };
}

export function required<S extends Spec>(spec: S, example: string, about: string): KeySpec<S> {
  return { spec, required: true, otherwise: undefined, about, example };
}

export function optional<S extends Spec>(
  spec: S,
  otherwise: string,
  example: string,
  about: string,
): KeySpec<S> {
  return { spec, required: false, otherwise, about, example };
}
