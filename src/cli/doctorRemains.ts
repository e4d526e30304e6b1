// What of ours lies in the kernel: service interfaces, tables, rules, routes. Listed with the administrator's own tools,
// so that what the doctor says can be checked by hand; nothing is changed.

import { INTERFACE_GROUP, LINK_ID_MAX, ROUTE_PROTOCOL, ROUTE_TABLE_BASE } from "../base/limits.ts";
import { listJson, listText } from "./doctorKernel.ts";

type Fields = Readonly<Record<string, unknown>>;
const rows = (value: unknown): readonly Fields[] | null =>
  Array.isArray(value) ? (value as Fields[]) : null;

/** Names that only Understudy gives: `us-lan`, `us-l12`. */
const SERVICE_DEVICE = /^us-(lan|l\d{1,3})$/;
const TABLES = ["understudy", "understudy-gate", "understudy-gate-bar", "understudy-guard"];

const isOurTable = (table: unknown): boolean => {
  const number = Number(table);
  return number >= ROUTE_TABLE_BASE && number <= ROUTE_TABLE_BASE + LINK_ID_MAX;
};

function interfaces(): string[] | null {
  const links = rows(listJson("ip", ["-json", "link", "show"]));
  return (
    links
      ?.filter(
        ({ ifname, group }) => SERVICE_DEVICE.test(String(ifname)) || Number(group) === INTERFACE_GROUP,
      )
      .map(({ ifname }) => `interface ${ifname}`) ?? null
  );
}

/** Tables of ours in nftables; null where they cannot be listed. */
export function ourTables(): { readonly family: string; readonly name: string }[] | null {
  // As text: of a table with an owner or without one left, nft 1.0.6 writes broken JSON, and dies of it.
  const listing = listText("nft", ["list", "tables"]);
  return (
    listing
      ?.split("\n")
      .map((line) => /^table (\S+) (\S+)$/.exec(line.trim()))
      .flatMap((match) => (match === null ? [] : [{ family: match[1]!, name: match[2]! }]))
      .filter(({ name }) => TABLES.includes(name)) ?? null
  );
}

const tables = (): string[] | null =>
  ourTables()?.map(({ family, name }) => `nft table ${family} ${name}`) ?? null;

function rules(family: "-4" | "-6"): string[] | null {
  const listed = rows(listJson("ip", ["-json", family, "rule", "show"]));
  return (
    listed
      ?.filter(({ table }) => isOurTable(table))
      .map(({ priority, table }) => `IPv${family[1]} rule ${priority} to table ${table}`) ?? null
  );
}

function routes(family: "-4" | "-6"): string[] | null {
  const args = ["-json", family, "route", "show", "table", "all", "proto", String(ROUTE_PROTOCOL)];
  const listed = rows(listJson("ip", args));
  return (
    listed?.map(
      ({ dst, dev, table }) => `IPv${family[1]} route ${dst} dev ${dev} table ${table ?? "main"}`,
    ) ?? null
  );
}

/** Everything of ours in this network namespace, a few words each; null where it cannot be listed. */
export function listRemains(): string[] | null {
  const parts = [interfaces(), tables(), rules("-4"), rules("-6"), routes("-4"), routes("-6")];
  return parts.includes(null) ? null : parts.flatMap((part) => part ?? []);
}
