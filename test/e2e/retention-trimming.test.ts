import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import { pause } from '../../lib/util/time.js';
import { closeAll, connect, inspect, serve } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import {
  callsOf,
  expectEmpty,
  FLOORS,
  listener,
  publish,
  range,
  settledUpTo,
  subscribeByHand,
  SUBSCRIPTIONS,
  topicOf,
} from '../support/retention.js';
import { deferred, eventually } from '../support/wait.js';

const TOPIC = topicOf('told');

let redis: RedisServer;
let look: Redis;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
});
afterEach(closeAll);
afterAll(() => redis.stop());

function start(
  service: string,
  handle: (data: number) => unknown = () => undefined,
): ReturnType<typeof serve> {
  return serve({ connection: redis.url, service }, listener('told', handle));
}

test('a topic is empty soon after all services have acknowledged', async () => {
  const seen = { a: 0, b: 0 };
  await start('a', () => void seen.a++);
  await start('b', () => void seen.b++);
  const client = connect({ connection: redis.url });
  await Promise.all(range(0, 300).map((n) => lastValueFrom(client.emit('told', n))));
  await eventually(() => seen.a === 300 && seen.b === 300, 'all events to be handled');
  await expectEmpty(look, 'told');
  // And again: the last one that acknowledges is always the one that trims.
  for (let i = 0; i < 3; i++) {
    await lastValueFrom(client.emit('told', i));
    await expectEmpty(look, 'told');
  }
});

test('of a topic as much goes as the slowest service has settled', async () => {
  const held = deferred();
  await start('quick');
  await start('slow', (n) => (n === 4 ? held.promise : undefined));
  const ids = await publish(look, 'told', ...range(0, 10));
  await settledUpTo(look, 'told', 'quick', ids[9]!);
  await eventually(async () => (await look.xlen(TOPIC)) === 6, 'what both have settled to be gone');
  const [[first]] = (await look.xrange(TOPIC, '-', '+')) as [[string, string[]]];
  expect(first).toBe(ids[4]);
  held.resolve();
  await expectEmpty(look, 'told');
});

test('an event that failed is kept for as long as it is pending', async () => {
  await start('fails', (n) => {
    if (n === 1) {
      throw new Error('no');
    }
  });
  const ids = await publish(look, 'told', ...range(0, 5));
  await eventually(async () => (await look.xlen(TOPIC)) === 4, 'the event before it to be gone');
  const pending = (await look.xpending(TOPIC, 'fails', '-', '+', 10)) as [string][];
  expect(pending.map(([id]) => id)).toEqual([ids[1]]);
  expect(await look.xrange(TOPIC, ids[1]!, ids[1]!)).toHaveLength(1);
});

test('a service that is down finds all that it has missed', async () => {
  const seen: number[] = [];
  await start('up');
  const { app } = await start('down', (n) => seen.push(n));
  await publish(look, 'told', 0);
  await expectEmpty(look, 'told');
  await app.close();
  const ids = await publish(look, 'told', ...range(1, 50));
  await settledUpTo(look, 'told', 'up', ids.at(-1)!);
  await expect(look.xlen(TOPIC)).resolves.toBe(49);
  await start('down', (n) => seen.push(n));
  await eventually(() => seen.length === 50, 'the events that were missed');
  expect(seen).toEqual(range(0, 50));
  await expectEmpty(look, 'told');
});

test('a subscribed service whose group does not exist yet finds everything', async () => {
  await subscribeByHand(look, 'late', 'told');
  await start('early');
  const ids = await publish(look, 'told', ...range(0, 20));
  await settledUpTo(look, 'told', 'early', ids.at(-1)!);
  await expect(look.xlen(TOPIC)).resolves.toBe(20);
  const seen: number[] = [];
  await start('late', (n) => seen.push(n));
  await eventually(() => seen.length === 20, 'the events from before its first start');
  await expectEmpty(look, 'told');
});

test('a service that subscribes between the look at the subscriptions and the cut loses nothing', async () => {
  await start('a');
  await publish(look, 'told', 0);
  // From here on 'a' knows the subscriptions, and will not look at them again by itself.
  await expectEmpty(look, 'told');
  await subscribeByHand(look, 'new', 'told');
  const ids = await publish(look, 'told', ...range(1, 6));
  await settledUpTo(look, 'told', 'a', ids.at(-1)!);
  await expect(look.xlen(TOPIC)).resolves.toBe(5);
});

test('subscriptions that vanished hold back events until their services must have come back', async () => {
  await start('a');
  await subscribeByHand(look, 'b', 'told');
  await publish(look, 'told', 0);
  await look.xgroup('CREATE', TOPIC, 'b', '$', 'MKSTREAM');
  await publish(look, 'told', 1);
  await look.xgroup('SETID', TOPIC, 'b', '$');
  await publish(look, 'told', 2);
  await eventually(async () => (await look.xlen(TOPIC)) === 1, 'both services to count');
  // 'b' is down, so only 'a' finds its group and its subscription gone and puts them right.
  await look.flushall();
  const ids = await publish(look, 'told', ...range(3, 9));
  await settledUpTo(look, 'told', 'a', ids.at(-1)!);
  await expect(look.hkeys(SUBSCRIPTIONS)).resolves.toEqual(['a told', 'version']);
  await expect(look.xlen(TOPIC)).resolves.toBe(6);
});

test('a group that somebody made by hand holds nothing back', async () => {
  await look.xgroup('CREATE', TOPIC, 'monitoring', '0', 'MKSTREAM');
  await start('a');
  await publish(look, 'told', ...range(0, 5));
  await expectEmpty(look, 'told');
});

test('what a service acknowledged before it was killed is trimmed at its next start', async () => {
  await start('a');
  await publish(look, 'told', ...range(0, 5));
  await expectEmpty(look, 'told');
  await closeAll();
  look = inspect(redis.url);
  // As an instance leaves it that dies between its acknowledgement and the trimming.
  await publish(look, 'told', ...range(5, 10));
  await look.xreadgroup('GROUP', 'a', 'dead', 'COUNT', 10, 'NOACK', 'STREAMS', TOPIC, '>');
  await start('a');
  await expectEmpty(look, 'told');
});

test('what an instance acknowledged before it was killed is trimmed when another finds it dead', async () => {
  await serve(
    { connection: redis.url, service: 'a', lease: 300 },
    listener('told', () => undefined),
  );
  await eventually(async () => (await look.hexists(FLOORS, `${TOPIC} a`)) === 1, 'the look after the start');
  await look
    .multi()
    .hset('{nest:0}:instances:a', 'dead', 1)
    .xadd(TOPIC, '*', 'pattern', 'told', 'data', '1')
    .xreadgroup('GROUP', 'a', 'dead', 'COUNT', 10, 'NOACK', 'STREAMS', TOPIC, '>')
    .exec();
  await expectEmpty(look, 'told', 5_000);
});

test('a server that closes trims first', async () => {
  let seen = 0;
  const { app } = await start('a', () => void seen++);
  await publish(look, 'told', ...range(0, 20));
  await eventually(() => seen === 20, 'all events to be handled');
  await app.close();
  await expect(look.xlen(TOPIC)).resolves.toBe(0);
});

test('a topic is trimmed when Redis has no memory left, which is when it is needed', async () => {
  const held = deferred();
  await start('a', (n) => (n === 0 ? held.promise : undefined));
  await publish(look, 'told', ...range(0, 50));
  await eventually(async () => (await look.hexists(FLOORS, `${TOPIC} a`)) === 1, 'a first look at the topic');
  await look.config('SET', 'maxmemory', '1');
  try {
    held.resolve();
    await expectEmpty(look, 'told', 5_000);
  } finally {
    await look.config('SET', 'maxmemory', '0');
  }
});

test('entry ids with the lowest and the highest sequence numbers', async () => {
  const held = deferred();
  await start('a', (n) => (n === 3 ? held.promise : undefined));
  const ids = ['5-1', '5-9007199254740993', '5-18446744073709551615', '6-0', '6-1'];
  for (const [n, id] of ids.entries()) {
    await look.xadd(TOPIC, id, 'pattern', 'told', 'data', String(n));
  }
  await settledUpTo(look, 'told', 'a', '5-18446744073709551615');
  await eventually(async () => (await look.xlen(TOPIC)) === 2, 'the first three to be gone');
  held.resolve();
  await settledUpTo(look, 'told', 'a', '6-1');
  await expectEmpty(look, 'told');
});

test('several patterns with names that are hard to tell apart', async () => {
  const patterns = ['a', 'a b', 'version', 'b a', '{"cmd":"a"}', 'ü %s + [x]'];
  await serve(
    { connection: redis.url, service: 'version' },
    ...patterns.map((pattern) => listener(pattern, () => undefined)),
  );
  for (const pattern of patterns) {
    await publish(look, pattern, 1);
  }
  for (const pattern of patterns) {
    await expectEmpty(look, pattern);
  }
});

test('a topic costs one look a second while it is used, and nothing while it is not', async () => {
  let seen = 0;
  await start('a', () => void seen++);
  await publish(look, 'told', 0);
  await expectEmpty(look, 'told');
  await look.config('RESETSTAT');
  const since = performance.now();
  while (performance.now() - since < 3_000) {
    // So many that they could be trimmed by one call.
    await Promise.all([publish(look, 'told', 1), pause(2)]);
  }
  await expectEmpty(look, 'told');
  const seconds = Math.ceil((performance.now() - since) / 1_000);
  expect(seen).toBeGreaterThan(100);
  await expect(callsOf(look, 'xinfo')).resolves.toBeLessThanOrEqual(seconds);
  await look.config('RESETSTAT');
  await eventually(async () => (await callsOf(look, 'xreadgroup')) >= 2, 'the reads to come round', 12_000);
  await expect(callsOf(look, 'xinfo', 'hgetall', 'xtrim')).resolves.toBe(0);
});

test('subscriptions are renewed, by whichever instance', async () => {
  await serve(
    { connection: redis.url, service: 'a', forgetAfter: 1_000 },
    listener('told', () => undefined),
  );
  const lastSeen = async (): Promise<number> =>
    Number((await look.hget(SUBSCRIPTIONS, 'a told'))!.split(' ')[0]);
  const version = await look.hget(SUBSCRIPTIONS, 'version');
  const times = new Set<number>();
  await eventually(async () => times.add(await lastSeen()).size === 5, 'four renewals', 2_000);
  // A renewal is no news.
  await expect(look.hget(SUBSCRIPTIONS, 'version')).resolves.toBe(version);
});
