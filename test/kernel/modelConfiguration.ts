// The configuration's part of a connection in a model: it carries nothing, and says whether the digests of both are the same.

import type { Config } from "../../src/core/config.ts";
import type { ConfigurationLog } from "../../src/daemon/replicator.ts";

export class ModelConfiguration implements ConfigurationLog {
  readonly running: string;
  difference: string | null = null;
  readonly counters = {};

  constructor(config: Config) {
    this.running = config.digest;
  }
  up({ configurationDigest }: { readonly configurationDigest: string }): void {
    this.difference = configurationDigest === this.running ? null : "another digest";
  }
  down(): void {
    this.difference = null;
  }
  peerRole(): void {}
  message(): void {}
}
