import type { Shard } from '../../redis/shard.js';
import { isNoPermission, messageOf } from '../../redis/redis-errors.js';
import type { Subscription } from '../../redis/replies.js';
import { dropIdleTopic } from '../../redis/scripts/drop-idle-topic.js';
import { dropTopic } from '../../redis/scripts/drop-topic.js';
import { forgetSubscriptions } from '../../redis/scripts/forget-subscriptions.js';
import { pause } from '../../util/time.js';
import type { Reporter } from '../reporter.js';
import type { Subscribers } from './subscribers.js';
import { RENEW_EVERY_MS, type Subscriptions } from './subscriptions.js';

/** It comes round ten times within `forgetAfter`, but neither more often than each minute nor more rarely than each hour. */
const ROUNDS_WITHIN_FORGET_AFTER = 10;
const AT_LEAST_EVERY_MS = 3_600_000;
const AT_MOST_EVERY_MS = 60_000;

/** Patterns in one look at the set of topics. */
const TOPICS_PER_LOOK = 200;

/** How long a service that seems to be away is given to say that it is not. */
const OBJECTION_MS = 1.5 * RENEW_EVERY_MS;

/** Topics that leave, in one look: the first to have left come first. */
const MAX_LEAVING = 1_000;

/** How many patterns a log line names. */
const MAX_NAMED = 5;

/** What a janitor is made from. */
export interface JanitorOptions {
  shard: Shard;
  subscriptions: Subscriptions;
  subscribers: Subscribers;
  forgetAfter: number;
  reporter: Reporter;
  /** A topic of which nobody settles anything may hold what is old. */
  onUnsettled: (topic: string) => void;
  /** After each round: what kept topics from being trimmed may be gone. */
  onCleaned: () => void;
}

/**
 * Removes, now and then, what nobody needs any more: subscriptions of services that are gone, topics to which nobody
 * subscribes, and topics that only wildcards mean and to which nothing happens. Every instance has one; several at once do no harm, since each removal is checked in its script.
 */
export class Janitor {
  private readonly stopping = new AbortController();
  /** Patterns without a stream at the last round. One that is there for the first time may just be getting it. */
  private missing = new Set<string>();
  private mayDropTopics = true;
  private running: Promise<void> | undefined;

  constructor(private readonly options: JanitorOptions) {}

  start(): void {
    this.running ??= this.run();
  }

  /** Resolves when it has ended: at once, or when Redis has answered. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    const every = interval(this.options.forgetAfter);
    // Instances that are started together, or often, come round at different times.
    await pause(every * Math.random(), signal);
    while (!signal.aborted) {
      await this.goRound();
      await pause(every * (0.75 + Math.random() / 2), signal);
    }
  }

  private async goRound(): Promise<void> {
    if (!this.options.shard.commands.isReady || this.options.shard.mismatch) {
      return;
    }
    try {
      await this.forgetUnwanted();
      await this.dropUnwanted();
      if (!this.stopping.signal.aborted) {
        this.options.onCleaned();
      }
    } catch (error) {
      if (!this.stopping.signal.aborted) {
        this.options.reporter.warnings.report(
          'Cleaning up',
          `What nobody needs was not removed: ${messageOf(error)}; trying again later`,
        );
      }
    }
  }

  /**
   * Who seems to be away may only have been cut off, with all of us, from a Redis that was down. So nobody is judged
   * before we could write ourselves, and not without the time to do the same.
   */
  private async forgetUnwanted(): Promise<void> {
    const { shard, subscriptions, subscribers, forgetAfter } = this.options;
    await subscriptions.renew();
    await subscribers.look();
    const unwanted = subscribers.unwanted(shard.clock.now(), forgetAfter);
    if (unwanted.length === 0) {
      return;
    }
    await pause(Math.min(OBJECTION_MS, forgetAfter), this.stopping.signal);
    if (this.stopping.signal.aborted) {
      return;
    }
    const { commands, keys } = shard;
    const forgotten = await forgetSubscriptions(commands.client, keys, unwanted);
    subscribers.removed(forgotten);
    this.tell(forgotten);
    await subscribers.look();
  }

  private tell(forgotten: readonly Subscription[]): void {
    const { hooks, log } = this.options.reporter;
    // Those of broadcasts hold nothing back but what is young.
    const durable = forgotten.filter(({ isBroadcast }) => !isBroadcast);
    for (const { service, pattern, lastSeen } of durable) {
      hooks.report('subscriptionForgotten', { service, pattern, lastSeen: new Date(lastSeen) });
    }
    for (const service of new Set(durable.map((one) => one.service))) {
      const its = durable.filter((one) => one.service === service);
      const patterns = listed(its.map(({ pattern }) => pattern));
      const lastSeen = new Date(Math.max(...its.map((one) => one.lastSeen))).toISOString();
      log.warn(
        `Service '${service}' does not hold back events of ${patterns} any more: it was last seen to subscribe to them at ${lastSeen}`,
      );
    }
  }

  private async dropUnwanted(): Promise<void> {
    if (!this.mayDropTopics) {
      return;
    }
    const { shard } = this.options;
    const { log } = this.options.reporter;
    const missing = new Set<string>();
    const dropped: string[] = [];
    let cursor = '0';
    try {
      do {
        const { commands, keys } = shard;
        const [next, patterns] = await commands.client.sscan(keys.topics, cursor, 'COUNT', TOPICS_PER_LOOK);
        cursor = next;
        await this.dropSome(patterns, missing, dropped);
      } while (cursor !== '0' && !this.stopping.signal.aborted);
      this.missing = missing;
      if (this.options.subscribers.hasWildcards) {
        await this.dropLeaving(dropped);
      }
    } catch (error) {
      if (!isNoPermission(error)) {
        throw error;
      }
      // What is not allowed never will be, and others may do it.
      this.mayDropTopics = false;
      log.warn(`This instance may not remove topics that no service subscribes to: ${messageOf(error)}`);
    }
    if (dropped.length > 0) {
      log.log(
        `Topics were removed that no service subscribes to by name and whose last event is old: ${listed(dropped)}`,
      );
    }
  }

  /** Adds those without a stream to `missing`, and those that were removed to `dropped`. */
  private async dropSome(
    patterns: readonly string[],
    missing: Set<string>,
    dropped: string[],
  ): Promise<void> {
    const { shard, subscribers, forgetAfter } = this.options;
    const { version = '' } = subscribers;
    const dropOne = async (pattern: string): Promise<void> => {
      const wasMissing = this.missing.has(pattern);
      const { commands, keys } = shard;
      const outcome = await dropTopic(commands.client, keys, version, pattern, forgetAfter, wasMissing);
      if (outcome === 'missing') {
        missing.add(pattern);
      } else if (outcome === 'dropped') {
        dropped.push(pattern);
      }
    };
    const idle: string[] = [];
    const unwanted: string[] = [];
    for (const pattern of patterns) {
      const hasGroups = subscribers.of(pattern).length > 0;
      const hasBroadcasts = subscribers.hasBroadcasts(pattern);
      if (!hasGroups && hasBroadcasts) {
        this.options.onUnsettled(pattern);
      }
      if (!hasGroups && !hasBroadcasts) {
        unwanted.push(pattern);
      } else if (!subscribers.isNamed(pattern)) {
        idle.push(pattern);
      }
    }
    await Promise.all(unwanted.map(dropOne));
    await Promise.all(idle.map((pattern) => this.dropIdle(pattern, missing, dropped)));
  }

  /** Those that are not among the topics any more, but may still be there. */
  private async dropLeaving(dropped: string[]): Promise<void> {
    const { commands, keys } = this.options.shard;
    const leaving = await commands.client.zrange(keys.idle, '0', String(MAX_LEAVING - 1));
    await Promise.all(leaving.map((pattern) => this.dropIdle(pattern, new Set(), dropped)));
  }

  private async dropIdle(pattern: string, missing: Set<string>, dropped: string[]): Promise<void> {
    const { shard, subscribers, forgetAfter } = this.options;
    const { version = '' } = subscribers;
    const { commands, keys } = shard;
    const wasMissing = this.missing.has(pattern);
    const outcome = await dropIdleTopic(commands.client, keys, version, pattern, forgetAfter, wasMissing);
    if (outcome === 'missing') {
      missing.add(pattern);
    } else if (outcome === 'dropped') {
      dropped.push(pattern);
    }
  }
}

/** The first few of them, for a log line. */
function listed(patterns: readonly string[]): string {
  const named = patterns.slice(0, MAX_NAMED).map((pattern) => `'${pattern}'`);
  const others = patterns.length - named.length;
  return named.join(', ') + (others > 0 ? ` and ${others} more` : '');
}

function interval(forgetAfter: number): number {
  const wanted = Math.max(forgetAfter / ROUNDS_WITHIN_FORGET_AFTER, Math.min(AT_MOST_EVERY_MS, forgetAfter));
  return Math.min(wanted, AT_LEAST_EVERY_MS);
}
