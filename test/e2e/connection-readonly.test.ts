import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import { closeAll, connect, inspect } from '../support/app.js';
import { freePort, RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  Logger.overrideLogger(false);
  server = await RedisServer.startOn(await freePort());
});
beforeEach(async () => {
  redis = inspect(server.url);
  await redis.flushall();
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await server.stop();
});

test.each([
  ['of a pattern that was never published before', 'new'],
  ['of a known pattern', 'known'],
])('an event %s waits while the master is a replica, as in a failover', async (_, pattern) => {
  const client = connect({ connection: server.url });
  const publish = (name: string): Promise<void> =>
    lastValueFrom(client.emit<void>(name, 1), { defaultValue: undefined });
  await publish('known');
  await redis.config('RESETSTAT');
  // Of nobody, so that it keeps what it has.
  await redis.replicaof('127.0.0.1', 1);
  const published = publish(pattern);
  published.catch(() => undefined);
  const wasRefused = async (): Promise<boolean> =>
    (await redis.info('errorstats')).includes('errorstat_READONLY');
  await eventually(wasRefused, 'the event to come to the replica');
  await redis.replicaof('NO', 'ONE');
  await expect(published).resolves.toBeUndefined();
  await expect(redis.xlen(`{nest:0}:topic:${pattern}`)).resolves.toBe(pattern === 'known' ? 2 : 1);
});

test('a Redis that stays a replica is not connected to over and over: the pauses grow', async () => {
  const client = connect({ connection: server.url, timeout: 60_000 });
  await lastValueFrom(client.emit<void>('known', 1), { defaultValue: undefined });
  await redis.replicaof('127.0.0.1', 1);
  await redis.config('RESETSTAT');
  const published = lastValueFrom(client.emit<void>('known', 2), { defaultValue: undefined });
  const refusals = async (): Promise<number> =>
    Number(/errorstat_READONLY:count=(\d+)/.exec(await redis.info('errorstats'))?.[1] ?? 0);
  const since = performance.now();
  await eventually(async () => (await refusals()) >= 5, 'five attempts', 10_000);
  // 50 ms after the first, and twice as long each time.
  expect(performance.now() - since).toBeGreaterThan(600);
  await redis.replicaof('NO', 'ONE');
  await expect(published).resolves.toBeUndefined();
});
