// When the kernel's dress may be put on, and when it counts. One condition rules it: this heart, with this
// configuration, says that its gate is in place, now. No gate, no interface (failover §1): where heart is gone and
// its table too, the service interfaces go down.
//
// An interface that somebody removed is made again, down; it goes up once heart has looked at its gate since. Until
// everything is in place this node does not count as dressed: heart hands over rather than serve half of it.

import type { Config } from "../core/config.ts";
import { servicesOf } from "../core/config.ts";
import { GATE_TABLE } from "../kernel/gateTable.ts";
import { listLinks, openRouteSocket, setLinkUp } from "../kernel/interfaces.ts";
import { isAbsent, Nftables } from "../kernel/nftables.ts";
import type { HeartState } from "../wire/control.ts";
import type { Wardrobe } from "./wardrobe.ts";

/** Heart looks at its gate every 15 ms and says how it stands every 500: what it last said after this is about now. */
const GATE_LOOK_MS = 700;
/** At most so often where heart's words come quickly. */
const HANG_PAUSE_MS = 200;

export interface DresserOptions {
  /** In force at the moment. */
  readonly config: () => Config;
  /** Heart goes by the same configuration. Where it does not, its gate is on other interfaces: nothing is touched. */
  goesBy(heart: HeartState): boolean;
  readonly wardrobe: Wardrobe;
  /** What a look at the dress found: changes in words, and the refusal where not everything is in place. */
  onMended(repaired: string | null, fault: string | null): void;
  /** Heart's packet sockets hang on ports that were replaced: it must be started anew, which no traffic hangs on. */
  onPortsReplaced(heart: HeartState): void;
  log(line: string): void;
}

export class Dresser {
  readonly #options: DresserOptions;
  #heart: HeartState | null = null;
  #isPaused = false;
  #isDressed = false;
  /** Interfaces were made anew: heart's word counts from then on (performance.now, ms). */
  #wordFrom = 0;
  #hungAt = Number.NEGATIVE_INFINITY;
  #gateRepairs = -1;
  /** Index of each port when this heart was first heard. */
  #ports = "";

  constructor(options: DresserOptions) {
    this.#options = options;
  }

  /** Interfaces, routes, rules and forwarding are in place, behind a gate. */
  get dressed(): boolean {
    return this.#isDressed;
  }

  /** First of all: interfaces exist, down where they are new. @throws BoundaryError */
  hang(): void {
    const before = this.#indices((service) => service.device);
    this.#options.wardrobe.hang();
    if (this.#indices((service) => service.device) !== before)
      this.#wordFrom = performance.now() + GATE_LOOK_MS;
  }

  /** What heart last said of its gate is about the interfaces as they are now. */
  mayTrust(heart: HeartState, isNewHeart: boolean): boolean {
    const isCurrent = isNewHeart || performance.now() >= this.#wordFrom;
    return isCurrent && this.#isGuarded(heart);
  }

  /** Somebody changes clothes (reconfigure.ts): nothing is looked at, and nothing is mended, until `resume`. */
  pause(): void {
    this.#isPaused = true;
  }

  /**
   * Looks at everything at once; the interfaces may be others now. `isWhole`: they are in place behind heart's gate. Otherwise heart's
   * gate may be another than its last word says, which may be from before: what it says counts from a while from now on.
   */
  resume(isWhole: boolean): void {
    this.#isPaused = false;
    this.#ports = this.#indices((service) => service.port);
    if (!isWhole) {
      this.#isDressed = false;
      this.#wordFrom = performance.now() + GATE_LOOK_MS;
    }
    this.#mend();
  }

  /** First time, with heart's gate in place. @throws BoundaryError */
  dress(heart: HeartState): void {
    this.#heart = heart;
    this.#gateRepairs = heart.gateRepairs;
    this.#ports = this.#indices((service) => service.port);
    this.#options.wardrobe.dress();
    this.#isDressed = true;
  }

  /** Heart's newest word; null: it is gone. */
  follow(heart: HeartState | null): void {
    const before = this.#heart;
    this.#heart = heart;
    if (heart === null || this.#ports === "" || this.#isPaused) return;
    const isAnother = before === null || before.pid !== heart.pid;
    if (isAnother) {
      // It may have found interfaces down, or taken them down when it went.
      this.#isDressed = false;
      this.#ports = this.#indices((service) => service.port);
    }
    const isDue = isAnother || !this.#isDressed || heart.gateRepairs !== this.#gateRepairs;
    if (isDue && performance.now() - this.#hungAt >= HANG_PAUSE_MS) this.#mend();
  }

  /** Now and then: somebody else's `ip rule flush` raises no event here. */
  look(): void {
    if (this.#isPaused) return;
    if (this.#heart === null) this.#shutWithoutGate();
    else this.#mend();
  }

  #isGuarded(heart: HeartState): boolean {
    return this.#options.goesBy(heart) && heart.segments.every(({ gated }) => gated);
  }

  #mend(): void {
    const heart = this.#heart;
    if (heart === null || !this.#options.goesBy(heart)) return;
    this.#hungAt = performance.now();
    const { wardrobe, onMended, onPortsReplaced } = this.#options;
    const devices = this.#indices((service) => service.device);
    try {
      wardrobe.hang();
    } catch (error) {
      this.#isDressed = false;
      onMended(null, (error as Error).message);
      return;
    }
    const now = performance.now();
    if (this.#indices((service) => service.device) !== devices) {
      this.#isDressed = false;
      this.#wordFrom = now + GATE_LOOK_MS;
      this.#options.log("service interfaces were made anew; waiting for heart's gate before they go up");
    }
    if (this.#indices((service) => service.port) !== this.#ports) {
      this.#isDressed = false;
      onPortsReplaced(heart);
      return;
    }
    if (now < this.#wordFrom || !this.#isGuarded(heart)) {
      this.#isDressed = this.#isDressed && now >= this.#wordFrom;
      return;
    }
    const { changes, last, fault } = wardrobe.mend();
    this.#isDressed = fault === null;
    this.#gateRepairs = heart.gateRepairs;
    const more = changes > 1 ? ` and ${changes - 1} more` : "";
    onMended(changes > 0 ? `${last}${more}` : null, fault);
  }

  /** Heart is gone: what it left guards the interfaces until its lease ends and after; without that, nothing does. */
  #shutWithoutGate(): void {
    if (this.#ports === "" || gateStands()) return;
    this.#isDressed = false;
    const socket = openRouteSocket();
    try {
      const links = new Map(listLinks(socket).map((link) => [link.name, link]));
      for (const { device } of servicesOf(this.#options.config())) {
        if (links.get(device)?.up !== true) continue;
        setLinkUp(socket, device, false);
        this.#options.log(`interface ${device}: down, for there is no gate and no heart to put one there`);
      }
    } finally {
      socket.close();
    }
  }

  #indices(pick: (service: { readonly device: string; readonly port: string }) => string): string {
    const socket = openRouteSocket();
    try {
      const links = new Map(listLinks(socket).map((link) => [link.name, link.index]));
      return servicesOf(this.#options.config())
        .map((service) => `${pick(service)} ${links.get(pick(service)) ?? "absent"}`)
        .join(", ");
    } finally {
      socket.close();
    }
  }
}

/** Heart's table is in the kernel, whoever looks after it. */
function gateStands(): boolean {
  const nft = new Nftables();
  try {
    nft.run("look for the gate", `list table netdev ${GATE_TABLE}`);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  } finally {
    nft.close();
  }
}
