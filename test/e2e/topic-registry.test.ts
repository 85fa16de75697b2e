import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { TopicRegistry } from '../../lib/client/topic-registry.js';
import { ConfigurationError } from '../../lib/index.js';
import { Namespace } from '../../lib/redis/namespace.js';
import { closeAll, inspect, Lines, onClose } from '../support/app.js';
import { entriesOf } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { callsOf, TOPICS } from '../support/retention.js';
import { eventually } from '../support/wait.js';

let redis: RedisServer;
let look: Redis;
let registry: TopicRegistry;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
  const options = { connection: redis.url, namespace: 'nest', shards: 1, connectTimeout: 5_000 };
  const namespace = new Namespace(options, new Lines());
  const usage = namespace.use();
  onClose(() => usage.release());
  await usage.ready;
  registry = new TopicRegistry(namespace.root);
});
afterEach(closeAll);
afterAll(() => redis.stop());

const isRegistered = async (pattern: string): Promise<boolean> =>
  (await look.sismember(TOPICS, pattern)) === 1;

test('a pattern is announced once, and then costs nothing', async () => {
  await Promise.all([registry.ensure('a', 0), registry.ensure('a', 0)]);
  await look.config('RESETSTAT');
  expect(registry.ensure('a', 59_000)).toBeUndefined();
  await expect(callsOf(look, 'sismember')).resolves.toBe(0);
  await expect(entriesOf(look, '{nest:0}:announce')).resolves.toEqual([{ topic: 'a' }]);
});

test('after a minute it is looked at again without anybody waiting, and after two they wait', async () => {
  await registry.ensure('a', 0);
  await look.srem(TOPICS, 'a');
  expect(registry.ensure('a', 61_000)).toBeUndefined();
  await eventually(() => isRegistered('a'), 'the pattern to be registered again');
  await eventually(() => registry.ensure('a', 61_001) === undefined, 'the look to have ended');
  await look.srem(TOPICS, 'a');
  const waiting = registry.ensure('a', 61_000 + 120_001);
  expect(waiting).toBeInstanceOf(Promise);
  await waiting;
  await expect(isRegistered('a')).resolves.toBe(true);
  await expect(look.xlen('{nest:0}:announce')).resolves.toBe(3);
});

test('all that were registered are registered again where Redis has forgotten them', async () => {
  await registry.ensure('a', performance.now());
  await registry.ensure('b', performance.now());
  await look.flushall();
  registry.registerAgain();
  await eventually(async () => (await isRegistered('a')) && isRegistered('b'), 'both');
});

test('a wildcard is no topic', async () => {
  await expect(registry.ensure('a.*', 0)).rejects.toThrow(ConfigurationError);
  await expect(look.exists(TOPICS)).resolves.toBe(0);
});
