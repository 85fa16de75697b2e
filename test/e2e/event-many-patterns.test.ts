import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, Payload } from '@nestjs/microservices';
import { RedisServer } from '../support/redis-server.js';
import { closeAll, inspect, serve } from '../support/app.js';
import { eventually } from '../support/wait.js';

const PATTERNS = Array.from({ length: 100 }, (_, i) => `many.${i}`);
const BUSY = '{nest:0}:topic:many.7';
const OTHER = '{nest:0}:topic:many.70';
const EVENTS = 3_000;

const handled: number[] = [];

@Controller()
class ManyController {
  @EventPattern<readonly string[]>(PATTERNS)
  event(@Payload() n: number): void {
    handled.push(n);
  }
}

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterEach(closeAll);
afterAll(() => redis.stop());

test('one of many patterns that has much to give is read in batches, and does not hold up the others', async () => {
  const look = inspect(redis.url);
  const publish = (stream: string, n: number): Promise<unknown> =>
    look.xadd(stream, '*', 'pattern', stream.slice('{nest:0}:topic:'.length), 'data', String(n));
  await Promise.all(Array.from({ length: EVENTS }, (_, n) => publish(BUSY, n)));
  await publish(OTHER, -1);
  await look.config('RESETSTAT');
  await serve({ connection: redis.url, service: 'many' }, ManyController);
  await eventually(() => handled.length === EVENTS + 1, 'all to be handled');
  const reads = Number(/cmdstat_xreadgroup:calls=(\d+)/.exec(await look.info('commandstats'))![1]);
  // One entry a read was what COUNT came to when it was shared among all streams.
  expect(reads).toBeLessThan(EVENTS / 10);
  expect(new Set(handled).size).toBe(EVENTS + 1);
  expect(handled.indexOf(-1)).toBeLessThan(EVENTS);
});
