import { isWildcard, means, wildcardMeans } from '../../protocol/wildcard.js';
import { parseSubscriptions, type Subscription } from '../../redis/replies.js';
import type { Shard } from '../../redis/shard.js';
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
  /** Those of single topics. */
  byTopic: Map<string, Subscription[]>;
  wildcards: Subscription[];
  all: Subscription[];
}

/**
 * Which services subscribe to a topic, as of the last look. What is in the hash counts, until it has been removed
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

  /** Whether anybody subscribes to more than single topics. */
  get hasWildcards(): boolean {
    return (this.view?.wildcards.length ?? 0) > 0;
  }

  /** The services that have a group on a topic, or will have. */
  of(topic: string): string[] {
    const services = new Set<string>();
    for (const { service, isBroadcast } of this.to(topic)) {
      if (!isBroadcast) {
        services.add(service);
      }
    }
    return [...services];
  }

  /** Whether instances read a topic by themselves. */
  hasBroadcasts(topic: string): boolean {
    return this.to(topic).some(({ isBroadcast }) => isBroadcast);
  }

  /** Whether anybody subscribes to a topic by its very name. */
  isNamed(topic: string): boolean {
    return this.to(topic).some(({ pattern }) => pattern === topic);
  }

  /** Whether the hash held a subscription of this service to the topic. */
  has(service: string, topic: string): boolean {
    return this.inHash(topic).some((one) => one.service === service);
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
      const gone = new Set(subscriptions.map(({ field }) => field));
      this.view = viewOf(
        view.version,
        view.all.filter(({ field }) => !gone.has(field)),
      );
    }
  }

  private async read(): Promise<void> {
    const { commands, keys } = this.shard;
    const reply = await commands.client.hgetall(keys.subscriptions);
    const all = parseSubscriptions(reply);
    const before = this.all;
    this.view = viewOf(reply['version'] ?? '', all);
    const fields = new Set(all.map(({ field }) => field));
    const until = performance.now() + VANISHED_FOR_MS;
    for (const subscription of before) {
      if (!fields.has(subscription.field)) {
        this.vanished.set(subscription.field, { subscription, until });
      }
    }
    for (const field of fields) {
      this.vanished.delete(field);
    }
  }

  /** All that count of those that mean a topic. */
  private to(topic: string): readonly Subscription[] {
    const found = this.inHash(topic);
    if (this.vanished.size === 0) {
      return found;
    }
    const now = performance.now();
    const others: Subscription[] = [];
    for (const [field, { subscription, until }] of this.vanished) {
      if (until < now) {
        this.vanished.delete(field);
      } else if (means(subscription.pattern, topic)) {
        others.push(subscription);
      }
    }
    return [...found, ...others];
  }

  private inHash(topic: string): readonly Subscription[] {
    const { byTopic, wildcards = [] } = this.view ?? {};
    const own = byTopic?.get(topic) ?? [];
    const others = wildcards.filter(({ pattern }) => wildcardMeans(pattern, topic));
    return others.length === 0 ? own : [...own, ...others];
  }
}

function viewOf(version: string, all: Subscription[]): View {
  const byTopic = new Map<string, Subscription[]>();
  const wildcards: Subscription[] = [];
  for (const subscription of all) {
    const { pattern } = subscription;
    const some = byTopic.get(pattern);
    if (isWildcard(pattern)) {
      wildcards.push(subscription);
    } else if (some) {
      some.push(subscription);
    } else {
      byTopic.set(pattern, [subscription]);
    }
  }
  return { version, byTopic, wildcards, all };
}
