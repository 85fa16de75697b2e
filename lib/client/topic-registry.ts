import type { Shard } from '../redis/shard.js';
import { execute } from '../redis/transaction.js';

/** Patterns come from the application and may be many; what is forgotten is only registered again. */
const MAX_REMEMBERED = 10_000;

/** How much news of topics is kept; whoever missed more reads the set. */
const MAX_ANNOUNCEMENTS = 10_000;

/**
 * Tells the namespace of an event pattern before the first event of it is written, so that whoever subscribes to many
 * patterns at once can find it. Done again after a reconnect, since that may be another Redis.
 */
export class TopicRegistry {
  private readonly registered = new Set<string>();
  private readonly underWay = new Map<string, Promise<void>>();

  constructor(private readonly shard: Shard) {}

  /** `undefined` where the pattern is registered; else resolves once it is. */
  ensure(pattern: string): Promise<void> | undefined {
    if (this.registered.has(pattern)) {
      return undefined;
    }
    let work = this.underWay.get(pattern);
    if (!work) {
      work = this.register(pattern).finally(() => this.underWay.delete(pattern));
      this.underWay.set(pattern, work);
    }
    return work;
  }

  /** Redis may have forgotten what it was told. */
  forget(): void {
    this.registered.clear();
  }

  private async register(pattern: string): Promise<void> {
    const { commands, keys } = this.shard;
    // Asked first, so that a topic is announced once and not by every publisher. Two at the same time announce it
    // twice, which does no harm; the other order could leave it registered but never announced.
    if ((await commands.client.sismember(keys.topics, pattern)) === 0) {
      await execute(
        commands.client
          .multi()
          .xadd(keys.announce, 'MAXLEN', '~', MAX_ANNOUNCEMENTS, '*', 'topic', pattern)
          .sadd(keys.topics, pattern),
      );
    }
    if (this.registered.size >= MAX_REMEMBERED) {
      this.registered.clear();
    }
    this.registered.add(pattern);
  }
}
