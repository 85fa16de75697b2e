import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import { closeAll, connect, inspect, Lines, serve, serveModule } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import {
  callsOf,
  expectEmpty,
  FLOORS,
  listener,
  publish,
  range,
  reportsOf,
  settledUpTo,
  subscribeByHand,
  SUBSCRIPTIONS,
  topicOf,
} from '../support/retention.js';
import { deferred, eventually } from '../support/wait.js';

const TOPIC = topicOf('told');

let redis: RedisServer;
let look: Redis;
/** How often each event was handled, by any instance. */
let runs: Map<number, number>;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
  runs = new Map();
});
afterEach(closeAll);
afterAll(() => redis.stop());

function count(n: number): void {
  runs.set(n, (runs.get(n) ?? 0) + 1);
}

function start(service: string, handle: (data: number) => unknown = count): ReturnType<typeof serve> {
  return serve({ connection: redis.url, service }, listener('told', handle));
}

/** Nothing of this topic is trimmed while a service that never comes is subscribed to it. */
function keepAll(): Promise<void> {
  return subscribeByHand(look, 'keeper', 'told');
}

test('a group that was destroyed goes on where it was, and repeats only what came after the last look', async () => {
  await keepAll();
  const lines = new Lines();
  const { server } = await serveModule(
    { connection: redis.url, service: 'a' },
    { controllers: [listener('told', count)] },
    { logger: lines },
  );
  const made = reportsOf(server, 'groupMade');
  const ids = await publish(look, 'told', ...range(0, 100));
  await settledUpTo(look, 'told', 'a', ids[99]!);
  await look.xgroup('DESTROY', TOPIC, 'a');
  await publish(look, 'told', ...range(100, 200));
  await eventually(() => runs.size === 200, 'all events to be handled');
  expect([...runs.values()].every((times) => times === 1)).toBe(true);
  expect(made).toEqual([{ stream: TOPIC, group: 'a', from: ids[99] }]);
  expect(lines.with('was made again')).toEqual([
    expect.stringContaining(`Consumer group 'a' of '${TOPIC}' was gone. It was made again`),
  ]);
});

test('a destroyed group loses nothing that another instance of its service still holds', async () => {
  await keepAll();
  const held = deferred();
  // Whichever instance gets it first holds it, and fails.
  const handle = async (n: number): Promise<void> => {
    count(n);
    if (n === 10 && runs.get(10) === 1) {
      await held.promise;
      throw new Error('not this time');
    }
  };
  await start('a', handle);
  await start('a', handle);
  const ids = await publish(look, 'told', ...range(0, 100));
  await eventually(() => runs.size === 100, 'all events to have begun');
  const [[before]] = (await look.xrevrange(TOPIC, `(${ids[10]}`, '-', 'COUNT', 1)) as [[string, string[]]];
  expect(before).toBe(ids[9]);
  // Both instances have acknowledged later events, and one of them may know nothing of the one that is held.
  await eventually(async () => {
    const floor = await look.hget(FLOORS, `${TOPIC} a`);
    return floor !== null && compare(floor, ids[9]!) >= 0;
  }, 'a look at the topic');
  expect(compare((await look.hget(FLOORS, `${TOPIC} a`))!, ids[10]!)).toBeLessThan(0);
  await look.xgroup('DESTROY', TOPIC, 'a');
  await publish(look, 'told', 100);
  await eventually(() => runs.has(100), 'the group to be there again');
  held.resolve();
  await eventually(() => runs.get(10)! > 1, 'the event that failed to be delivered again', 10_000);
  // What had been settled before it is not repeated.
  expect(range(0, 10).every((n) => runs.get(n) === 1)).toBe(true);
});

test('nothing is trimmed while a subscribed group is gone', async () => {
  await start('a', () => undefined);
  const { app } = await start('b');
  await publish(look, 'told', 0);
  await expectEmpty(look, 'told');
  await app.close();
  const ids = await publish(look, 'told', ...range(1, 20));
  await look.xgroup('DESTROY', TOPIC, 'b');
  await settledUpTo(look, 'told', 'a', ids.at(-1)!);
  await expect(look.xlen(TOPIC)).resolves.toBe(19);
  await start('b');
  await eventually(() => runs.size === 20, 'the service to get what it missed');
  await expectEmpty(look, 'told');
});

test('a service that is busy subscribes again as soon as it finds its group gone', async () => {
  const held = deferred();
  await start('a', () => held.promise);
  await eventually(async () => (await look.exists(FLOORS)) === 1, 'the look at the topic after the start');
  await look.flushall();
  await publish(look, 'told', 1);
  await eventually(
    async () => (await look.hexists(SUBSCRIPTIONS, 'a told')) === 1,
    'the subscription, though nothing has been acknowledged',
  );
  held.resolve();
});

test('a stream that was deleted and is smaller now is read from its beginning', async () => {
  await start('a');
  await publish(look, 'told', ...range(0, 10));
  await expectEmpty(look, 'told');
  // As after a failover to a Redis whose clock is behind.
  await look
    .multi()
    .del(TOPIC)
    .xadd(TOPIC, '5-1', 'pattern', 'told', 'data', '10')
    .xadd(TOPIC, '5-2', 'pattern', 'told', 'data', '11')
    .exec();
  await eventually(() => runs.size === 12, 'the events with lower ids');
  await settledUpTo(look, 'told', 'a', '5-2');
  await expectEmpty(look, 'told');
});

const faults: [string, () => Promise<unknown>][] = [
  ['XGROUP DESTROY', () => look.xgroup('DESTROY', TOPIC, 'a')],
  ['DEL', () => look.del(TOPIC)],
  ['FLUSHALL', () => look.flushall()],
];

test.each(faults)('under load it survives %s, again and again', async (name, fault) => {
  await start('a');
  await start('a');
  await start('b', () => undefined);
  const client = connect({ connection: redis.url });
  await client.connect();
  const stored: number[] = [];
  let isPublishing = true;
  const publishing = (async () => {
    for (let n = 0; isPublishing; n++) {
      await lastValueFrom(client.emit('told', n)).then(() => stored.push(n));
    }
  })();
  await eventually(() => runs.size > 100, 'some load');
  await look.config('RESETSTAT');
  const since = performance.now();
  let latest = 0;
  for (let i = 0; i < 4; i++) {
    await fault();
    // Events that were stored before may be gone with their stream; those from here on may not.
    latest = stored.length;
    await eventually(
      () => runs.has(stored.length - 1) || runs.size > latest + 50,
      'reading to go on',
      10_000,
    );
  }
  isPublishing = false;
  await publishing;
  const must = name === 'XGROUP DESTROY' ? stored : stored.slice(latest + 1);
  await eventually(() => must.every((n) => runs.has(n)), 'every event that Redis still had', 10_000);
  await expectEmpty(look, 'told', 10_000);
  const seconds = (performance.now() - since) / 1_000;
  // Six readers' groups made again four times, and a look at the topic by three instances each second.
  await expect(callsOf(look, 'xgroup')).resolves.toBeLessThan(4 * 6 * 2);
  await expect(callsOf(look, 'evalsha', 'eval')).resolves.toBeLessThan(4 * 30 + seconds * 3 * 4);
});

function compare(id: string, other: string): number {
  const [time = '', seq = ''] = id.split('-');
  const [otherTime = '', otherSeq = ''] = other.split('-');
  return Number(BigInt(time) - BigInt(otherTime)) || Number(BigInt(seq) - BigInt(otherSeq));
}
