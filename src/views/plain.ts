// Values of the wire for JSON: byte strings become text, addresses where their name says that they are, else hexadecimal
// digits. Pure.

import { formatAddress, formatMac } from "../base/addresses.ts";

export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [name: string]: Plain };

const ADDRESSES = ["source", "destination", "address"];

/** `00ff` for the bytes 0 and 255. */
export function bytesText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytesOf(bytes: Uint8Array, name: string): string {
  if (name === "mac" && bytes.length === 6) return formatMac(bytes);
  if (ADDRESSES.includes(name) && (bytes.length === 4 || bytes.length === 16)) return formatAddress(bytes);
  return bytesText(bytes);
}

/** `value` as JSON can hold it; `name`: of the field that it stands in. */
export function plainOf(value: unknown, name = ""): Plain {
  if (value instanceof Uint8Array) return bytesOf(value, name);
  if (Array.isArray(value)) return value.map((each) => plainOf(each, name));
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plainOf(each, key)]));
  return value as Plain;
}
