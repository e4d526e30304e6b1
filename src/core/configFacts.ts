// What two processes of one node must have read alike: heart and daemon are started at different times, and the files
// may have been edited in between. Pure.

import { sha256Hex } from "../base/sha256.ts";
import { type Config, servicesOf } from "./config.ts";

/**
 * Digest (64 hex digits) of everything that heart and daemon must agree about: the pair's file, and of the node's
 * file which node it is and which devices its names mean.
 */
export function factsDigest(config: Config): string {
  const services = servicesOf(config).map(({ id, device, port, virtualMac }) => [
    id,
    device,
    port,
    virtualMac,
  ]);
  const paths = config.paths.map(({ name, device, local, remote }) => [name, device, local, remote]);
  return sha256Hex(JSON.stringify([config.digest, config.node, services, paths]));
}
