import type { Shard } from '../../redis/shard.js';
import { parseSubscriptions, type Subscription } from '../../redis/replies.js';
import { RENEW_EVERY_MS } from './subscriptions.js';

/** A service of which anything was renewed within this time is alive. */
const ALIVE_MS = 3 * RENEW_EVERY_MS;

/** How long a subscription is kept that a living service does not name any more. */
const REMOVED_AFTER_MS = 3_600_000;

/** A subscription that vanished is honoured until its service, if it lives, must have written it again. */
const VANISHED_FOR_MS = 1.5 * RENEW_EVERY_MS;

/** Who subscribes to what, at one version of the hash. */
interface View {
  version: string;
  byPattern: Map<string, string[]>;
  all: Subscription[];
}

/**
 * Which services subscribe to a pattern, as of the last look. What is in the hash counts, until it has been removed
 * from there. What vanished without us having removed it (FLUSHALL) counts a little longer: a service that lives will
 * write it again, and must not find the events gone that were published meanwhile.
 */
export class Subscribers {
  private view: View | undefined;
  private looking: Promise<void> | undefined;
  /** Subscriptions that vanished, by field, and until when (`performance.now()`) they count. */
  private readonly vanished = new Map<string, { subscription: Subscription; until: number }>();

  constructor(private readonly shard: Shard) {}

  /** The version of the last look; `''` where the hash was empty, `undefined` before the first one. */
  get version(): string | undefined {
    return this.view?.version;
  }

  /** All subscriptions in the hash. */
  get all(): readonly Subscription[] {
    return this.view?.all ?? [];
  }

  /** The services that subscribe to a pattern. */
  of(pattern: string): string[] {
    const services = this.view?.byPattern.get(pattern) ?? [];
    const now = performance.now();
    const others: string[] = [];
    for (const [field, { subscription, until }] of this.vanished) {
      if (until < now) {
        this.vanished.delete(field);
      } else if (subscription.pattern === pattern) {
        others.push(subscription.service);
      }
    }
    return others.length === 0 ? services : [...services, ...others];
  }

  /** Whether the hash held this subscription. */
  has(service: string, pattern: string): boolean {
    return this.view?.byPattern.get(pattern)?.includes(service) ?? false;
  }

  /** Looks again; calls while it looks share one. */
  look(): Promise<void> {
    this.looking ??= this.read().finally(() => (this.looking = undefined));
    return this.looking;
  }

  /**
   * Those that count no more: their service has not been seen for its `forgetAfter`, or it lives but has not named
   * them for an hour, since it does not handle them any more. Who did not say a `forgetAfter` is given ours.
   * @param now milliseconds by Redis' clock
   */
  unwanted(now: number, forgetAfter: number): Subscription[] {
    const seen = new Map<string, number>();
    for (const { service, lastSeen } of this.all) {
      seen.set(service, Math.max(lastSeen, seen.get(service) ?? 0));
    }
    return this.all.filter(({ service, lastSeen, forgetAfter: own = forgetAfter }) => {
      const isAlive = now - seen.get(service)! < ALIVE_MS;
      return now - lastSeen >= (isAlive ? Math.min(own, REMOVED_AFTER_MS) : own);
    });
  }

  /** These were removed rightly, and do not count as vanished. */
  removed(subscriptions: readonly Subscription[]): void {
    const { view } = this;
    if (view && subscriptions.length > 0) {
      const gone = new Set(subscriptions.map(fieldOf));
      this.view = viewOf(
        view.version,
        view.all.filter((one) => !gone.has(fieldOf(one))),
      );
    }
  }

  private async read(): Promise<void> {
    const { commands, keys } = this.shard;
    const reply = await commands.client.hgetall(keys.subscriptions);
    const all = parseSubscriptions(reply);
    const before = this.all;
    this.view = viewOf(reply['version'] ?? '', all);
    const fields = new Set(all.map(fieldOf));
    const until = performance.now() + VANISHED_FOR_MS;
    for (const subscription of before) {
      if (!fields.has(fieldOf(subscription))) {
        this.vanished.set(fieldOf(subscription), { subscription, until });
      }
    }
    for (const field of fields) {
      this.vanished.delete(field);
    }
  }
}

function viewOf(version: string, all: Subscription[]): View {
  const byPattern = new Map<string, string[]>();
  for (const { service, pattern } of all) {
    const services = byPattern.get(pattern);
    if (services) {
      services.push(service);
    } else {
      byPattern.set(pattern, [service]);
    }
  }
  return { version, byPattern, all };
}

function fieldOf({ service, pattern }: Subscription): string {
  return `${service} ${pattern}`;
}
