// The mutations of failover §8: each a rule switched off. Every one must be found by the simulator, or the rule is not
// tested; a switch is part of the machine's `unsafe` options or of the simulated kernel.

import type { Mutation } from "./world.ts";

export const MUTATIONS = {
  none: {},
  "lease-check-off": { leaseCheckOff: true },
  "probe-before-lease-end": { probeBeforeLeaseEnd: true },
  "witness-off": { witnessOff: true },
  "judge-before-draining": { judgeBeforeDraining: true },
  "blind-renewal": { blindRenewal: true },
  "lease-length-not-carried": { leaseLengthNotCarried: true },
  "drain-skipped": { drainSkipped: true },
  "solo-at-once": { soloAtOnce: true },
} as const satisfies Record<string, Mutation>;
export type MutationName = keyof typeof MUTATIONS;

export function mutationOf(name: string): Mutation {
  if (Object.hasOwn(MUTATIONS, name)) return MUTATIONS[name as MutationName];
  throw new Error(`no such mutation: ${name}; there are ${Object.keys(MUTATIONS).join(", ")}`);
}
