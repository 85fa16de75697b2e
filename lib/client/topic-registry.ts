import { ConfigurationError } from '../errors.js';
import { isWildcard } from '../protocol/wildcard.js';
import { REGISTERED_FOR_MS } from '../redis/scripts/drop-idle-topic.js';
import type { Shard } from '../redis/shard.js';
import { registerTopic } from '../redis/topics.js';

/** Patterns come from the application and may be many; what is forgotten is only registered again. */
const MAX_REMEMBERED = 10_000;

/** From this age on it is looked, in the background, whether a pattern is still registered. */
const LOOK_AGAIN_AFTER_MS = REGISTERED_FOR_MS / 2;

/**
 * Tells the namespace of an event pattern before the first event of it is written, so that whoever subscribes to many
 * patterns at once can find it. Done again after a reconnect, since that may be another Redis, and about once a minute
 * for a pattern that is published to: a topic that was idle for long is taken out again.
 */
export class TopicRegistry {
  /** By pattern, `performance.now()` before it was seen to be registered. */
  private readonly registered = new Map<string, number>();
  private readonly underWay = new Map<string, Promise<void>>();

  constructor(private readonly shard: Shard) {}

  /**
   * `undefined` where the pattern is registered; else resolves once it is, or rejects with a `ConfigurationError`.
   * @param now `performance.now()`
   */
  ensure(pattern: string, now: number): Promise<void> | undefined {
    const age = now - (this.registered.get(pattern) ?? Number.NEGATIVE_INFINITY);
    if (age < LOOK_AGAIN_AFTER_MS) {
      return undefined;
    }
    let work = this.underWay.get(pattern);
    if (!work) {
      work = this.register(pattern, now).finally(() => this.underWay.delete(pattern));
      this.underWay.set(pattern, work);
    }
    if (age < REGISTERED_FOR_MS) {
      // The next event tries again, and waits for it before long.
      work.catch(() => undefined);
      return undefined;
    }
    return work;
  }

  /** Redis may have forgotten what it was told. */
  forget(): void {
    this.registered.clear();
  }

  /** Redis has forgotten it; what was published meanwhile is found once it is told again. */
  registerAgain(): void {
    const patterns = [...this.registered.keys()];
    this.forget();
    const now = performance.now();
    for (const pattern of patterns) {
      // Where this fails, the next event of the pattern sees to it.
      this.ensure(pattern, now)?.catch(() => undefined);
    }
  }

  private async register(pattern: string, now: number): Promise<void> {
    if (isWildcard(pattern)) {
      throw new ConfigurationError(
        `The event '${pattern}' was not published: '*' and '>' as segments of a pattern are for those who subscribe.`,
      );
    }
    await registerTopic(this.shard, pattern);
    if (this.registered.size >= MAX_REMEMBERED) {
      this.registered.clear();
    }
    this.registered.set(pattern, now);
  }
}
