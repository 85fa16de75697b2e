import { Keys } from '../../lib/redis/keys.js';
import { shardOf } from '../../lib/redis/sharding.js';

/**
 * Over how many shards servers and clients are spread where a test does not say: 1, or what jest.shards.config.mjs has
 * put here.
 */
export const SHARDS = Number(process.env['TEST_SHARDS'] ?? 1);

/** The stream of an event pattern. */
export function topicKey(pattern: string, namespace = 'nest', shards = SHARDS): string {
  return new Keys(namespace, shardOf(pattern, shards)).topic(pattern);
}

/** What the key of a request's stream is like, in any shard. */
export function inboxLike(service: string, namespace = 'nest'): RegExp {
  return new RegExp(`^\\{${namespace}:\\d+\\}:inbox:${service}$`);
}
