import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { closeAll, connect, inspect, serve } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

const INBOX = '{nest:0}:inbox:busy';

/** How many run at once, and how many did at most. */
class Meter {
  running = 0;
  highest = 0;
  enter(): void {
    this.highest = Math.max(this.highest, ++this.running);
  }
  leave(): void {
    this.running--;
  }
}

let requests: Meter;
let events: Meter;
let release = deferred();
const order: number[] = [];

@Controller()
class BusyController {
  @MessagePattern('held')
  async held(@Payload() data: number): Promise<number> {
    requests.enter();
    await release.promise;
    requests.leave();
    return data;
  }
  @MessagePattern('short')
  async short(@Payload() data: number): Promise<number> {
    requests.enter();
    await new Promise((resolve) => setTimeout(resolve, data % 3));
    order.push(data);
    requests.leave();
    return data;
  }
  @MessagePattern('fails')
  fails(): never {
    throw new Error('as asked');
  }
  @EventPattern(['held-event', 'held-event-too'])
  async heldEvent(): Promise<void> {
    events.enter();
    await release.promise;
    events.leave();
  }
}

let redis: RedisServer;
let look: Redis;
let options: { connection: string; service: string };
beforeAll(async () => {
  redis = await RedisServer.start();
  options = { connection: redis.url, service: 'busy' };
});
beforeEach(async () => {
  requests = new Meter();
  events = new Meter();
  release = deferred();
  order.length = 0;
  look = inspect(redis.url);
  await look.flushall();
});
afterEach(async () => {
  release.resolve();
  await closeAll();
});
afterAll(() => redis.stop());

const pending = async (stream: string): Promise<number> =>
  ((await look.xpending(stream, 'busy')) as [number])[0];

function askMany(count: number, pattern: string): Promise<unknown[]> {
  const client = connect(options);
  return Promise.all(
    Array.from({ length: count }, (_, i) => firstValueFrom(client.send<unknown>(pattern, i))),
  );
}

async function publishMany(count: number, pattern: string): Promise<void> {
  const client = connect(options);
  const all = Array.from({ length: count }, (_, i) =>
    firstValueFrom(client.emit(pattern, i), { defaultValue: 0 }),
  );
  await Promise.all(all);
}

test.each([
  [{}, 128, 200],
  [{ concurrency: 2 }, 2, 20],
  [{ concurrency: 150 }, 150, 200],
])(
  'no more requests run at once than %j allows (%i), and no more are read',
  async (settings, limit, count) => {
    await serve({ ...options, ...settings }, BusyController);
    const answers = askMany(count, 'held');
    await eventually(() => requests.running === limit, `${limit} running requests`);
    // The others have been written by now, and lie in the inbox for whoever has a free slot.
    await eventually(async () => (await look.xlen(INBOX)) === count, 'all requests to be stored');
    await expect(pending(INBOX)).resolves.toBe(limit);
    expect(requests.running).toBe(limit);
    release.resolve();
    await expect(answers).resolves.toEqual(Array.from({ length: count }, (_, i) => i));
    expect(requests.highest).toBe(limit);
  },
);

test('requests that one instance has no room for are handled by another', async () => {
  const { server } = await serve({ ...options, concurrency: 1 }, BusyController);
  const first = askMany(1, 'held');
  await eventually(() => requests.running === 1, 'the first instance to be busy');
  await serve({ ...options, concurrency: 1 }, BusyController);
  await expect(askMany(5, 'short')).resolves.toEqual([0, 1, 2, 3, 4]);
  expect(server.unwrap().status).toBe('ready');
  release.resolve();
  await first;
});

test('with a concurrency of 1, requests are handled strictly in their order', async () => {
  await serve({ ...options, concurrency: 1 }, BusyController);
  await askMany(100, 'short');
  expect(order).toEqual(Array.from({ length: 100 }, (_, i) => i));
  expect(requests.highest).toBe(1);
});

test.each([
  [{}, 64, 100],
  [{ eventConcurrency: 3 }, 3, 20],
])('no more events run at once than %j allows (%i)', async (settings, limit, count) => {
  await serve({ ...options, ...settings }, BusyController);
  await publishMany(count, 'held-event');
  await publishMany(count, 'held-event-too');
  await eventually(() => events.running === limit, `${limit} running events`);
  const [one, other] = ['{nest:0}:topic:held-event', '{nest:0}:topic:held-event-too'] as const;
  // COUNT is for each stream, so that a read may bring more than there are slots; what is over waits, and is bounded.
  expect((await pending(one)) + (await pending(other))).toBeLessThanOrEqual(limit + 2);
  expect(events.running).toBe(limit);
  release.resolve();
  await eventually(
    async () => (await pending(one)) + (await pending(other)) === 0,
    'all events to be handled',
  );
  await eventually(() => events.running === 0, 'all handlers to end');
  expect(events.highest).toBe(limit);
});

test('events that are blocked do not hold up requests, nor requests events', async () => {
  await serve({ ...options, concurrency: 1, eventConcurrency: 1 }, BusyController);
  await publishMany(3, 'held-event');
  await eventually(() => events.running === 1, 'a running event');
  await expect(askMany(10, 'short')).resolves.toHaveLength(10);
  const held = askMany(1, 'held');
  await eventually(() => requests.running === 1, 'a running request');
  expect(events.running).toBe(1);
  release.resolve();
  await held;
  await eventually(
    async () => (await pending('{nest:0}:topic:held-event')) === 0,
    'all events to be handled',
  );
});

test('a slot comes back however a message ends', async () => {
  await serve({ ...options, concurrency: 1, eventConcurrency: 1 }, BusyController);
  const batch = look.pipeline();
  batch.xgroup('CREATE', 'nest:replies:nobody', 'make', '0', 'MKSTREAM');
  for (let i = 0; i < 20; i++) {
    const common = ['id', `i${i}`, 'reply', 'nobody', 'ttl', '200'];
    batch.xadd(INBOX, '*', 'malformed', '1');
    batch.xadd(INBOX, '*', 'pattern', 'unknown', ...common);
    batch.xadd(INBOX, '*', 'pattern', 'fails', 'data', '1', ...common);
    batch.xadd(INBOX, '*', 'pattern', 'short', 'data', '{"half":', ...common);
    batch.xadd(INBOX, '*', 'pattern', 'short', 'data', '1', ...common.slice(0, 4), 'ttl', '0');
    batch.xadd(INBOX, '*', 'pattern', 'unknown-event', 'data', '1');
    batch.xadd('{nest:0}:topic:held-event', '*', 'malformed', '1');
    batch.xadd('{nest:0}:topic:held-event', '*', 'pattern', 'held-event', 'data', '{"half":');
  }
  await batch.exec();
  await expect(askMany(3, 'short')).resolves.toEqual([0, 1, 2]);
  await publishMany(1, 'held-event');
  await eventually(() => events.running === 1, 'the good event');
});
