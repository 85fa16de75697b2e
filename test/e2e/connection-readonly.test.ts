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
