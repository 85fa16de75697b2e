import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { DUE_AT_IDLE_MS, ORPHANS_ALONE, ORPHANS_WAITING } from '../../lib/redis/consumers.js';
import { closeAll, inspect, serve } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { pendingIn } from '../support/streams.js';
import { deferred, eventually } from '../support/wait.js';

const TOPIC = '{nest:0}:topic:told';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterEach(closeAll);
afterAll(() => redis.stop());

test('a retry that comes due while another event runs alone is started when that one has ended', async () => {
  const look = inspect(redis.url);
  const started = deferred();
  const release = deferred();
  const handled: string[] = [];
  @Controller()
  class AloneController {
    @EventPattern<string>('told')
    async on(@Payload() name: string): Promise<void> {
      if (name === 'alone') {
        started.resolve();
        await release.promise;
      }
      handled.push(name);
    }
  }
  // Two events of an instance that has died: one failed there, the other may have killed it.
  await look.xgroup('CREATE', TOPIC, 'retrying', '0', 'MKSTREAM');
  const waiting = (await look.xadd(TOPIC, '*', 'pattern', 'told', 'data', '"waiting"'))!;
  const alone = (await look.xadd(TOPIC, '*', 'pattern', 'told', 'data', '"alone"'))!;
  await look.xreadgroup('GROUP', 'retrying', 'dead', 'STREAMS', TOPIC, '>');
  const idle = DUE_AT_IDLE_MS - 300;
  await look.xclaim(TOPIC, 'retrying', ORPHANS_WAITING, 0, waiting, 'IDLE', idle, 'RETRYCOUNT', 1);
  await look.xclaim(TOPIC, 'retrying', ORPHANS_ALONE, 0, alone, 'RETRYCOUNT', 3);
  await look.hset('{nest:0}:instances:retrying', `~${TOPIC}`, 'dead');
  const since = performance.now();
  await serve({ connection: redis.url, service: 'retrying', lease: 1_000 }, AloneController);
  await started.promise;
  await eventually(() => performance.now() - since > 500, 'the other one to be due');
  expect(handled).toEqual([]);
  release.resolve();
  await eventually(() => handled.length === 2, 'both to be handled');
  expect(handled).toEqual(['alone', 'waiting']);
  await eventually(async () => (await pendingIn(look, TOPIC, 'retrying')) === 0, 'nothing to be pending');
});
