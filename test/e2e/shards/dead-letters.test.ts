import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import {
  DeadLetter,
  InvalidArgumentError,
  RedisStreamsContext,
  RedisStreamsDeadLetters,
} from '../../../lib/index.js';
import { encodeDeadLetterMeta } from '../../../lib/protocol/dead-letter.js';
import { closeAll, connect, inspect, onClose, serve } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { eventually } from '../../support/wait.js';

const SHARDS = 3;

let server: RedisServer;
let redis: Redis;
let letters: RedisStreamsDeadLetters;
beforeAll(async () => {
  server = await RedisServer.start();
});
beforeEach(async () => {
  redis = inspect(server.url);
  await redis.flushall();
  letters = new RedisStreamsDeadLetters({ connection: server.url, service: 'orders', shards: SHARDS });
  onClose(() => letters.close());
});
afterEach(closeAll);
afterAll(() => server.stop());

const META = encodeDeadLetterMeta({
  stream: 'a stream',
  entryId: '1-0',
  reason: 'failed',
  errorName: 'Error',
  errorMessage: 'as asked',
  deliveries: 5,
  instance: 'host-1-a',
});

/** Adds dead letters by their ids. */
async function bury(pattern: string, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    const [entry, shard] = id.split('@') as [string, string];
    await redis.xadd(`{nest:${shard}}:dead:orders`, entry, ...META, 'pattern', pattern, 'data', `"${id}"`);
  }
}

/** The ids of all pages, and how many pages there were. */
async function listAll(query: object, limit: number): Promise<{ ids: string[]; pages: number }> {
  const ids: string[] = [];
  let after: string | undefined;
  let pages = 0;
  do {
    const page = await letters.list({ ...query, limit, after });
    expect(page.letters.length).toBeLessThanOrEqual(limit);
    ids.push(...page.letters.map(({ id }) => id));
    after = page.next;
    pages++;
  } while (after !== undefined);
  return { ids, pages };
}

describe('a list', () => {
  const IDS = ['1-0@1', '2-0@0', '2-0@1', '2-0@2', '2-1@0', '3-0@2', '10-0@0', '11-0@1', '11-0@2'];

  beforeEach(() => bury('a', ...IDS));

  test.each([1, 2, 3, 4, 9, 50])(
    'has the letters of all shards, the oldest first, on pages of %i',
    async (limit) => {
      const { ids, pages } = await listAll({}, limit);
      expect(ids).toEqual(IDS);
      expect(pages).toBe(Math.ceil((IDS.length + (IDS.length % limit === 0 ? 1 : 0)) / limit));
      await expect(letters.count()).resolves.toBe(IDS.length);
    },
  );

  test('by time, from a page on', async () => {
    await expect(listAll({ from: 2, to: 10 }, 2)).resolves.toMatchObject({ ids: IDS.slice(1, 7) });
    await expect(letters.list({ from: 3, after: '1-0@1' })).resolves.toMatchObject({
      letters: IDS.slice(5).map((id) => ({ id })),
    });
    await expect(letters.list({ from: 2, after: '2-0@1', limit: 1 })).resolves.toMatchObject({
      letters: [{ id: '2-0@2' }],
      next: '2-0@2',
    });
  });

  test('one letter, with the time it died at', async () => {
    await expect(letters.get('2-0@2')).resolves.toMatchObject({
      id: '2-0@2',
      diedAt: new Date(2),
      pattern: 'a',
    });
    await expect(letters.get('3-0@1')).resolves.toBeUndefined();
  });
});

test('pages of many letters that lie unevenly have each of them once, by few commands', async () => {
  const ids: string[] = [];
  const batch = redis.pipeline();
  for (let i = 1; i <= 2_500; i++) {
    // Long runs in one shard, and some strewn in.
    const shard = i % 50 === 0 ? 2 : i < 1_500 ? 0 : 1;
    ids.push(`${i}-0@${shard}`);
    batch.xadd(`{nest:${shard}}:dead:orders`, `${i}-0`, 'pattern', i % 100 === 0 ? 'rare' : 'often');
  }
  await batch.exec();
  await letters.connect();
  await redis.config('RESETSTAT');
  await expect(listAll({}, 100)).resolves.toMatchObject({ ids });
  const calls = Number(/cmdstat_xrange:calls=(\d+)/.exec(await redis.info('commandstats'))![1]);
  expect(calls).toBeLessThan(26 * 5);
  const rare = ids.filter((_, i) => (i + 1) % 100 === 0);
  await expect(listAll({ pattern: 'rare' }, 10)).resolves.toMatchObject({ ids: rare });
  // A call looks at no more than a thousand.
  const first = await letters.list({ pattern: 'none' });
  expect(first).toEqual({ letters: [], next: '1000-0@2' });
});

test('removing and replaying go to the shard that the id names, and say which were there', async () => {
  await bury('a', '1-0@0', '1-0@1', '1-0@2', '2-0@1');
  await expect(letters.remove(['1-0@1', '3-0@1', '1-0@1'])).resolves.toEqual({
    removed: ['1-0@1'],
    missing: ['3-0@1'],
  });
  await redis.xadd('{nest:2}:dead:orders', '5-0', ...META);
  const { replayed, ...rest } = await letters.replay(['1-0@2', '1-0@1', '5-0@2', '2-0@1']);
  expect(rest).toEqual({ missing: ['1-0@1'], empty: ['5-0@2'] });
  expect(replayed.map(({ id }) => id)).toEqual(['1-0@2', '2-0@1']);
  for (const { id, entryId } of replayed) {
    const shard = id.split('@')[1]!;
    await expect(redis.xrange(`{nest:${shard}}:inbox:orders`, entryId, entryId)).resolves.toHaveLength(1);
  }
  await expect(listAll({}, 50)).resolves.toMatchObject({ ids: ['1-0@0', '5-0@2'] });
});

test('all of a pattern are replayed, those of the same id in several shards too', async () => {
  const ids = Array.from({ length: 240 }, (_, i) => `${Math.floor(i / 3) + 1}-0@${i % 3}`);
  await bury('a', ...ids);
  await bury('b', '100-0@0', '100-0@1');
  await bury('a', '100-1@2');
  await bury('b', '1000-0@2');
  await expect(letters.replayAll({ pattern: 'a' })).resolves.toBe(241);
  await expect(listAll({}, 50)).resolves.toMatchObject({ ids: ['100-0@0', '100-0@1', '1000-0@2'] });
  const lengths = [0, 1, 2].map((shard) => redis.xlen(`{nest:${shard}}:inbox:orders`));
  await expect(Promise.all(lengths)).resolves.toEqual([80, 80, 81]);
  await expect(letters.replayAll()).resolves.toBe(3);
});

test('what died of any shard is handled when it is replayed', async () => {
  const handled: [pattern: string, data: unknown][] = [];
  let isBroken = true;
  const PATTERNS = ['told', 'told.a', 'told.c'];
  @Controller()
  class OrdersController {
    @EventPattern<string[]>(PATTERNS)
    on(@Payload() data: unknown, @Ctx() { pattern }: RedisStreamsContext): void {
      if (isBroken) {
        throw new DeadLetter('not yet');
      }
      handled.push([pattern, data]);
    }
  }
  await serve({ connection: server.url, service: 'orders', shards: SHARDS }, OrdersController);
  const client = connect({ connection: server.url, shards: SHARDS });
  for (const pattern of PATTERNS) {
    await lastValueFrom(client.emit(pattern, pattern), { defaultValue: undefined });
  }
  await eventually(async () => (await letters.count()) === 3, 'three dead letters');
  isBroken = false;
  await expect(letters.replayAll()).resolves.toBe(3);
  await eventually(() => handled.length === 3, 'them to be handled');
  expect(handled.sort()).toEqual(PATTERNS.map((pattern) => [pattern, pattern]));
});

describe('an id that does not fit', () => {
  test.each([
    ['without a shard', '1-0'],
    ['of a shard that there is not', '1-0@3'],
    ['of a shard that is no number', '1-0@x'],
    ['of a shard that is written in another way', '1-0@01'],
    ['with nothing before the shard', '@1'],
    ['beyond 64 bits', '18446744073709551616-0@1'],
  ])('%s is refused before anything is done', async (_, id) => {
    await bury('a', '1-0@1');
    for (const call of [
      letters.get(id),
      letters.remove(['1-0@1', id]),
      letters.replay(['1-0@1', id]),
      letters.list({ after: id }),
    ]) {
      await expect(call).rejects.toThrow(InvalidArgumentError);
      await expect(call).rejects.toThrow(
        `in a namespace of 3 shards, such as '1763750000000-0@1', not '${id}'`,
      );
    }
    await expect(letters.count()).resolves.toBe(1);
  });

  test('with a shard is refused where there is one shard', async () => {
    const single = new RedisStreamsDeadLetters({ connection: server.url, service: 'orders' });
    onClose(() => single.close());
    await expect(single.get('1-0@0')).rejects.toThrow("such as '1763750000000-0', not '1-0@0'");
  });
});
