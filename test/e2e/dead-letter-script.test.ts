import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { deadLetter, type DeadLetterMove } from '../../lib/redis/scripts/dead-letter.js';
import { closeAll, inspect } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';

const STREAM = '{n:0}:inbox:orders';
const DEAD = '{n:0}:dead:orders';
const META = ['dead-stream', STREAM, 'dead-reason', 'failed'];

let server: RedisServer;
let redis: Redis;

beforeAll(async () => {
  server = await RedisServer.start();
});

beforeEach(async () => {
  redis = inspect(server.url);
  await redis.flushall();
  await redis.xgroup('CREATE', STREAM, 'orders', '0', 'MKSTREAM');
});

afterEach(closeAll);

afterAll(() => server.stop());

/** Adds an entry and delivers it to `consumer`. */
async function deliver(consumer: string, ...fields: (string | Buffer)[]): Promise<string> {
  const id = await redis.xadd(STREAM, '*', ...fields);
  await redis.xreadgroup('GROUP', 'orders', consumer, 'COUNT', 1, 'STREAMS', STREAM, '>');
  return id!;
}

function move(id: string, changes: Partial<DeadLetterMove> = {}) {
  return deadLetter(redis, {
    stream: STREAM,
    dead: DEAD,
    group: 'orders',
    owner: 'me',
    id,
    remove: true,
    maxLength: 100,
    meta: META,
    ...changes,
  });
}

async function pendingCount(): Promise<number> {
  const [count] = (await redis.xpending(STREAM, 'orders')) as [number];
  return count;
}

describe('moving an entry', () => {
  test('it lies among the dead letters with the meta fields first, and nowhere else', async () => {
    const id = await deliver('me', 'pattern', 'sum', 'data', '[1]');
    const outcome = await move(id);

    expect(outcome).toEqual({ outcome: 'moved', id: expect.any(String), dropped: 0 });
    expect(await redis.xrange(DEAD, '-', '+')).toEqual([
      [(outcome as { id: string }).id, [...META, 'pattern', 'sum', 'data', '[1]']],
    ]);
    expect(await pendingCount()).toBe(0);
    expect(await redis.xlen(STREAM)).toBe(0);
  });

  test('every byte of every field survives, names included', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const id = await deliver('me', bytes, bytes, 'empty', '', '', Buffer.from([0xff, 0x0d, 0x0a, 0]));
    await move(id);
    const [[, fields]] = (await redis.xrangeBuffer(DEAD, '-', '+')) as [[Buffer, Buffer[]]];
    expect(fields.slice(META.length)).toEqual([
      ...[bytes, bytes],
      ...[Buffer.from('empty'), Buffer.alloc(0)],
      ...[Buffer.alloc(0), Buffer.from([0xff, 0x0d, 0x0a, 0])],
    ]);
  });

  test('an entry of a topic is acknowledged and stays for other services', async () => {
    const id = await deliver('me', 'pattern', 'placed');
    await move(id, { remove: false });
    expect(await redis.xlen(STREAM)).toBe(1);
    expect(await pendingCount()).toBe(0);
    expect(await redis.xlen(DEAD)).toBe(1);
  });

  test('a second time it is not ours any more', async () => {
    const id = await deliver('me', 'pattern', 'sum');
    await move(id);
    expect(await move(id)).toEqual({ outcome: 'not-owned' });
    expect(await redis.xlen(DEAD)).toBe(1);
  });

  test('Redis is asked once', async () => {
    const id = await deliver('me', 'pattern', 'sum');
    await move(id);
    const other = await deliver('me', 'pattern', 'sum');
    await redis.config('RESETSTAT');
    await move(other);
    const stats = await redis.info('commandstats');
    expect(stats).toMatch(/cmdstat_evalsha:calls=1,/);
    expect(stats).not.toMatch(/cmdstat_eval:/);
  });
});

describe('whose it is', () => {
  test.each(['other', 'me~wait', 'ME', 'm'])('pending for %j: nothing is done', async (consumer) => {
    const id = await deliver(consumer, 'pattern', 'sum');
    expect(await move(id)).toEqual({ outcome: 'not-owned' });
    expect(await pendingCount()).toBe(1);
    expect(await redis.xlen(STREAM)).toBe(1);
    expect(await redis.exists(DEAD)).toBe(0);
  });

  test('not delivered, or acknowledged already: nothing is done', async () => {
    const id = (await redis.xadd(STREAM, '*', 'pattern', 'sum'))!;
    expect(await move(id)).toEqual({ outcome: 'not-owned' });
    expect(await redis.xlen(STREAM)).toBe(1);
  });

  test.each([
    ['the group is gone', () => redis.xgroup('DESTROY', STREAM, 'orders')],
    ['the stream is gone', () => redis.del(STREAM)],
  ])('%s: nothing is done', async (_, destroy) => {
    const id = await deliver('me', 'pattern', 'sum');
    await destroy();
    expect(await move(id)).toEqual({ outcome: 'not-owned' });
    expect(await redis.exists(DEAD)).toBe(0);
  });

  test('trimmed under us: it is acknowledged, and nothing is kept', async () => {
    const id = await deliver('me', 'pattern', 'sum');
    await redis.xdel(STREAM, id);
    expect(await move(id)).toEqual({ outcome: 'missing' });
    expect(await pendingCount()).toBe(0);
    expect(await redis.exists(DEAD)).toBe(0);
  });
});

describe('the bound', () => {
  test('it is exact: the oldest go, and are counted', async () => {
    await redis.xadd(DEAD, '1-0', 'a', 'b');
    await redis.xadd(DEAD, '2-0', 'a', 'b');
    await redis.xadd(DEAD, '3-0', 'a', 'b');
    const id = await deliver('me', 'pattern', 'sum');
    expect(await move(id, { maxLength: 2 })).toMatchObject({ outcome: 'moved', dropped: 2 });
    const letters = await redis.xrange(DEAD, '-', '+');
    expect(letters.map(([letterId]) => letterId)).toEqual(['3-0', expect.any(String)]);
  });
});

describe('entries larger than Lua can unpack', () => {
  async function deliverFields(count: number): Promise<string> {
    return deliver('me', ...Array.from({ length: count }, (_, i) => [`f${i}`, String(i)]).flat());
  }

  test('one that just fits is kept whole', async () => {
    const id = await deliverFields((7_900 - META.length) / 2);
    expect(await move(id)).toMatchObject({ outcome: 'moved' });
    const [[, fields]] = (await redis.xrange(DEAD, '-', '+')) as [[string, string[]]];
    expect(fields).toHaveLength(7_900);
    expect(fields).not.toContain('dead-cut');
  });

  test.each([1, 20_000])('one with %i fields more is cut, and says so', async (more) => {
    const id = await deliverFields((7_900 - META.length) / 2 + more);
    expect(await move(id)).toMatchObject({ outcome: 'moved' });
    const [[, fields]] = (await redis.xrange(DEAD, '-', '+')) as [[string, string[]]];
    expect(fields.slice(0, META.length + 4)).toEqual([...META, 'dead-cut', '1', 'f0', '0']);
    expect(fields).toHaveLength(7_902);
    expect(fields.at(-2)).toBe(`f${fields.at(-1)}`);
  });
});

describe('when Redis refuses', () => {
  test('out of memory: the error says so, and nothing has changed', async () => {
    const id = await deliver('me', 'pattern', 'sum', 'data', 'x'.repeat(1_000));
    await redis.config('SET', 'maxmemory', '1');
    try {
      await expect(move(id)).rejects.toThrow(/^OOM /);
      expect(await pendingCount()).toBe(1);
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
    expect(await redis.xlen(STREAM)).toBe(1);
    expect(await redis.exists(DEAD)).toBe(0);
    expect(await move(id)).toMatchObject({ outcome: 'moved' });
  });

  test('something else lies where the stream belongs: that is an error, and not the answer that it is not ours', async () => {
    const id = await deliver('me', 'pattern', 'sum');
    await redis.set(STREAM, 'x');
    await expect(move(id)).rejects.toThrow(/^WRONGTYPE /);
    expect(await redis.exists(DEAD)).toBe(0);
  });

  test('something else lies where the dead letters belong: the error says so, and nothing has changed', async () => {
    const id = await deliver('me', 'pattern', 'sum');
    await redis.set(DEAD, 'x');
    await expect(move(id)).rejects.toThrow(/^WRONGTYPE /);
    expect(await pendingCount()).toBe(1);
    expect(await redis.xlen(STREAM)).toBe(1);
  });
});
