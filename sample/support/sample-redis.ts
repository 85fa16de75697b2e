import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { ensureRedis } from '../../test/support/redis-binary.js';
import { RedisServer } from '../../test/support/redis-server.js';
import { messageOf } from './message-of.js';
import type { Closable, RedisSettings } from './settings.js';

const CONNECT_WITHIN_MS = 5_000;
const KEYS_PER_SCAN = 500;

/**
 * The Redis of a sample. Leaving it removes the keys of the namespace from a Redis of the user's, or ends the throw-away
 * one.
 */
export type SampleRedis = RedisSettings & Closable;

/**
 * The Redis that `REDIS_URL` names, where it is set, else a throw-away one; in either case in a namespace that nobody
 * else uses. Says in one line which.
 */
export async function openSampleRedis(name: string, say: (line: string) => void): Promise<SampleRedis> {
  const namespace = `sample-${name}-${randomBytes(4).toString('hex')}`;
  const url = process.env['REDIS_URL'];
  if (url) {
    say(`Using the Redis that REDIS_URL names, in the namespace ${namespace}`);
    await usingRedis(url, (redis) => redis.ping());
    return {
      connection: url,
      namespace,
      close: () => usingRedis(url, (redis) => removeKeys(redis, namespace)),
    };
  }
  ensureRedis(say);
  const server = await RedisServer.start();
  return { connection: server.url, namespace, close: () => server.stop() };
}

/** One attempt only: a sample whose Redis is away is better off with an error than with a wait. */
async function usingRedis(url: string, work: (redis: Redis) => Promise<unknown>): Promise<void> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_WITHIN_MS,
    commandTimeout: CONNECT_WITHIN_MS,
    retryStrategy: () => null,
  });
  // What connect() rejects with is only that the connection was closed; this tells why.
  let reason: unknown;
  redis.on('error', (error) => (reason = error));
  try {
    await redis.connect();
    await work(redis);
  } catch (cause) {
    throw new Error(`The Redis that REDIS_URL names cannot be used: ${messageOf(reason ?? cause)}`, {
      cause,
    });
  } finally {
    // Has it never been connected, disconnecting only makes the process wait.
    if (redis.status !== 'end') {
      redis.disconnect();
    }
  }
}

/** Reply streams have no hash tag; everything else of a namespace has. */
async function removeKeys(redis: Redis, namespace: string): Promise<void> {
  for (const pattern of [`{${namespace}:*`, `${namespace}:*`]) {
    let cursor = '0';
    do {
      const [next, keys] = await redis.scan(cursor, 'MATCH', pattern, 'COUNT', KEYS_PER_SCAN);
      cursor = next;
      if (keys.length > 0) {
        await redis.unlink(...keys);
      }
    } while (cursor !== '0');
  }
}
