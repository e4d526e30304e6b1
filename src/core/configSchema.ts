// The published JSON Schemas (draft-07, which editors understand), made from the tables of keys. They let an editor
// help while writing; `understudy check` knows more (what keys must be together, what an address can be). Pure.

import type { JsonSchema, Keys, MapSpec, Spec } from "./configSpec.ts";

/**
 * The schema document of one table.
 * @param id its file's name, which is its identifier.
 */
export function schemaDocument(spec: MapSpec<Keys>, id: string, title: string): JsonSchema {
  return { $schema: "http://json-schema.org/draft-07/schema#", $id: id, title, ...schemaOf(spec) };
}

function schemaOf(spec: Spec): JsonSchema {
  switch (spec.kind) {
    case "scalar":
      return spec.schema;
    case "list": {
      const item = schemaOf(spec.item);
      const whole = { type: "array", items: item, minItems: spec.min, maxItems: spec.max };
      return spec.single ? { anyOf: [item, whole] } : whole;
    }
    case "map": {
      const keys = Object.entries(spec.keys);
      const properties = keys.map(([name, key]) => [name, { description: key.about, ...schemaOf(key.spec) }]);
      return {
        type: "object",
        properties: Object.fromEntries(properties),
        required: keys.filter(([, key]) => key.required).map(([name]) => name),
        additionalProperties: false,
      };
    }
    case "names":
      return {
        type: "object",
        propertyNames: spec.key.schema,
        additionalProperties: spec.value.schema,
        maxProperties: spec.max,
      };
  }
}

/** As it is written into docs/. */
export function schemaText(schema: JsonSchema): string {
  return `${JSON.stringify(schema, null, 2)}\n`;
}
