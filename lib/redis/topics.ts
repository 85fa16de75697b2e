import { ANNOUNCE_MAX_LENGTH } from './scripts/drop-idle-topic.js';
import type { Shard } from './shard.js';
import { execute } from './transaction.js';

/** Tells a shard of an event pattern, so that whoever subscribes to many patterns at once finds it. */
export async function registerTopic({ commands, keys }: Shard, pattern: string): Promise<void> {
  // Asked first, so that a topic is announced once and not by every publisher. Two at the same time announce it
  // twice, which does no harm; the other order could leave it registered but never announced.
  if ((await commands.client.sismember(keys.topics, pattern)) === 0) {
    await execute(
      commands.client
        .multi()
        .xadd(keys.announce, 'MAXLEN', '~', ANNOUNCE_MAX_LENGTH, '*', 'topic', pattern)
        .sadd(keys.topics, pattern),
    );
  }
}
