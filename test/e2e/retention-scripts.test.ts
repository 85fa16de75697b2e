import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { means } from '../../lib/protocol/wildcard.js';
import { Keys } from '../../lib/redis/keys.js';
import { dropTopic } from '../../lib/redis/scripts/drop-topic.js';
import { ENTRY_IDS } from '../../lib/redis/scripts/entry-ids.js';
import { forgetSubscriptions } from '../../lib/redis/scripts/forget-subscriptions.js';
import { makeGroup } from '../../lib/redis/scripts/make-group.js';
import { subscribe } from '../../lib/redis/scripts/subscribe.js';
import { trimTopic, type TrimOutcome } from '../../lib/redis/scripts/trim-topic.js';
import { WILDCARDS } from '../../lib/redis/scripts/wildcards.js';
import { parseSubscriptions, subscriptionField } from '../../lib/redis/replies.js';
import { closeAll, inspect } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { range } from '../support/retention.js';

const keys = new Keys('nest');
const TOPIC = keys.topic('told');
const HIGHEST = (2n ** 64n - 1n).toString();

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  server = await RedisServer.start();
});
beforeEach(async () => {
  redis = inspect(server.url);
  await redis.flushall();
});
afterEach(closeAll);
afterAll(() => server.stop());

async function versionNow(): Promise<string> {
  return (await redis.hget(keys.subscriptions, 'version')) ?? '';
}

function add(id: string): Promise<string | null> {
  return redis.xadd(TOPIC, id, 'pattern', 'told', 'data', '1');
}

function fields(service: string, patterns: readonly string[]): string[] {
  return patterns.map((pattern) => subscriptionField(service, pattern, false));
}

async function ids(): Promise<string[]> {
  return (await redis.xrange(TOPIC, '-', '+')).map(([id]) => id);
}

describe('entry ids in Lua', () => {
  const numbers = [
    '0',
    '1',
    '9',
    '10',
    '11',
    '99',
    '100',
    '1000',
    '9007199254740992',
    '9007199254740993',
    '9999999999999999999',
    '10000000000000000000',
    '18446744073709551614',
    HIGHEST,
  ];
  const all = numbers.flatMap((time) => numbers.map((seq) => `${time}-${seq}`));
  const toNumber = (id: string): bigint => {
    const [time = '', seq = ''] = id.split('-');
    return (BigInt(time) << 64n) + BigInt(seq);
  };
  const toId = (n: bigint): string => `${n >> 64n}-${n & (2n ** 64n - 1n)}`;
  const lowest = 0n;
  const highest = 2n ** 128n - 1n;

  test('the ids before and after', async () => {
    const script = `${ENTRY_IDS} return {idBefore(ARGV[1]), idAfter(ARGV[1])}`;
    for (const id of all) {
      const n = toNumber(id);
      const before = toId(n === lowest ? n : n - 1n);
      const after = toId(n === highest ? n : n + 1n);
      expect([id, ...((await redis.eval(script, 0, id)) as string[])]).toEqual([id, before, after]);
    }
  });

  test('their order', async () => {
    const script = `${ENTRY_IDS} local answers = {}
      for i = 2, #ARGV do answers[i - 1] = isBefore(ARGV[1], ARGV[i]) and 1 or 0 end return answers`;
    for (const id of all) {
      const expected = all.map((other) => (toNumber(id) < toNumber(other) ? 1 : 0));
      await expect(redis.eval(script, 0, id, ...all)).resolves.toEqual(expected);
    }
  });
});

describe('trimming', () => {
  const trim = async (...groups: string[]): Promise<TrimOutcome> =>
    trimTopic(redis, keys, TOPIC, await versionNow(), groups);

  beforeEach(async () => {
    await subscribe(redis, keys.subscriptions, fields('a', ['told']), 1_000);
    for (const id of ['5-0', '5-1', '6-0', '6-18446744073709551615', '7-0', '9223372036854775808-0']) {
      await add(id);
    }
    await redis.xgroup('CREATE', TOPIC, 'a', '0');
    await redis.xgroup('CREATE', TOPIC, 'b', '0');
  });

  const read = (group: string, count: number): Promise<unknown> =>
    redis.xreadgroup('GROUP', group, 'one', 'COUNT', count, 'STREAMS', TOPIC, '>');

  test('up to the slowest group, exactly', async () => {
    await read('a', 6);
    await redis.xack(TOPIC, 'a', '5-0', '5-1', '6-0');
    await read('b', 6);
    await redis.xack(TOPIC, 'b', '5-0', '5-1', '6-0', '6-18446744073709551615');
    await expect(trim('a', 'b')).resolves.toBe('done');
    await expect(ids()).resolves.toEqual(['6-18446744073709551615', '7-0', '9223372036854775808-0']);
    await expect(redis.hgetall(keys.floors)).resolves.toEqual({
      [`${TOPIC} a`]: '6-18446744073709551614',
      [`${TOPIC} b`]: '6-18446744073709551615',
    });
  });

  test('to the last entry where nothing is pending, and nothing of what was never delivered', async () => {
    await read('a', 6);
    await redis.xack(TOPIC, 'a', ...(await ids()));
    await expect(trim('a', 'b')).resolves.toBe('done');
    await expect(ids()).resolves.toHaveLength(6);
    await expect(redis.hgetall(keys.floors)).resolves.toEqual({
      [`${TOPIC} a`]: '9223372036854775808-0',
      [`${TOPIC} b`]: '0-0',
    });
    await expect(trim('a')).resolves.toBe('done');
    await expect(ids()).resolves.toEqual([]);
  });

  test('nothing where a group is missing, though the others are recorded', async () => {
    await read('a', 3);
    await redis.xack(TOPIC, 'a', '5-0', '5-1', '6-0');
    await expect(trim('a', 'missing')).resolves.toBe('kept');
    await expect(ids()).resolves.toHaveLength(6);
    await expect(redis.hgetall(keys.floors)).resolves.toEqual({ [`${TOPIC} a`]: '6-0' });
  });

  test('nothing where the subscriptions have changed, or no service subscribes, or the topic is gone', async () => {
    await read('a', 6);
    await redis.xack(TOPIC, 'a', ...(await ids()));
    const version = await versionNow();
    await subscribe(redis, keys.subscriptions, fields('b', ['told']), 1_000);
    await expect(trimTopic(redis, keys, TOPIC, version, ['a'])).resolves.toBe('stale');
    await expect(trim()).resolves.toBe('kept');
    await expect(ids()).resolves.toHaveLength(6);
    await redis.del(TOPIC);
    await expect(trim('a')).resolves.toBe('kept');
    await redis.del(keys.subscriptions);
    await expect(trimTopic(redis, keys, TOPIC, '', ['a'])).resolves.toBe('stale');
    await expect(redis.exists(keys.floors, TOPIC)).resolves.toBe(0);
  });

  test('a group that was set back holds what it is to get again', async () => {
    await read('a', 6);
    await redis.xack(TOPIC, 'a', '5-0', '5-1', '6-0');
    await redis.xgroup('SETID', TOPIC, 'a', '5-0');
    await expect(trim('a')).resolves.toBe('done');
    await expect(ids()).resolves.toHaveLength(5);
  });

  test('a long topic in several calls', async () => {
    const many = 25_000;
    await redis.del(TOPIC);
    const pipeline = redis.pipeline();
    for (const n of range(1, many + 1)) {
      pipeline.xadd(TOPIC, `${n}-1`, 'data', '1');
    }
    await pipeline.exec();
    await redis.xgroup('CREATE', TOPIC, 'a', `${many - 7}-1`);
    let calls = 1;
    while ((await trim('a')) === 'more') {
      calls++;
      expect(await redis.xlen(TOPIC)).toBeGreaterThan(7);
    }
    expect(calls).toBe(3);
    await expect(redis.xlen(TOPIC)).resolves.toBe(7);
  });
});

describe('making a group', () => {
  const make = (): ReturnType<typeof makeGroup> => makeGroup(redis, TOPIC, keys.floors, 'a');
  const floorIs = (id: string): Promise<number> => redis.hset(keys.floors, `${TOPIC} a`, id);
  const lastDelivered = async (): Promise<unknown> => {
    const [group] = (await redis.xinfo('GROUPS', TOPIC)) as unknown[][];
    return group![group!.indexOf('last-delivered-id') + 1];
  };

  test('a new one starts at the beginning, of a stream that exists or not', async () => {
    await expect(make()).resolves.toEqual({ from: '0-0', hadFloor: false });
    await expect(make()).resolves.toBeUndefined();
    await redis.del(TOPIC);
    await add('5-0');
    await expect(make()).resolves.toEqual({ from: '0-0', hadFloor: false });
    await expect(lastDelivered()).resolves.toBe('0-0');
  });

  test.each(['5-7', '5-8', `6-${HIGHEST}`, '10-0', `${HIGHEST}-0`])(
    'one that has a floor of 5-7 starts there, where the stream has reached %s',
    async (last) => {
      await add(last);
      await floorIs('5-7');
      await expect(make()).resolves.toEqual({ from: '5-7', hadFloor: true });
      await expect(lastDelivered()).resolves.toBe('5-7');
      await expect(redis.hlen(keys.floors)).resolves.toBe(1);
    },
  );

  test.each(['5-6', '4-9', `4-${HIGHEST}`, undefined])(
    'it starts at the beginning where the stream has only reached %s, and the floor is forgotten',
    async (last) => {
      if (last) {
        await add(last);
      }
      await floorIs('5-7');
      await expect(make()).resolves.toEqual({ from: '0-0', hadFloor: true });
      await expect(lastDelivered()).resolves.toBe('0-0');
      await expect(redis.hlen(keys.floors)).resolves.toBe(0);
    },
  );

  test('what keeps it from being made is thrown', async () => {
    await redis.set(TOPIC, 'in the way');
    await expect(make()).rejects.toThrow('WRONGTYPE');
  });
});

test('what subscriptions mean, in Lua, is what they mean elsewhere', async () => {
  const words = ['', 'a', 'b', '*', '>', 'a*', '{', '{"a":1}', '%', 'é', '[x]'];
  const some = fc
    .array(fc.constantFrom(...words), { minLength: 1, maxLength: 5 })
    .map((all) => all.join('.'));
  const script = `${WILDCARDS} return means(ARGV[1], ARGV[2]) and 1 or 0`;
  await fc.assert(
    fc.asyncProperty(some, some, async (pattern, topic) => {
      const isMeant = (await redis.eval(script, 0, pattern, topic)) === 1;
      expect([pattern, topic, isMeant]).toEqual([pattern, topic, means(pattern, topic)]);
    }),
    { numRuns: 1_000 },
  );
});

describe('subscriptions', () => {
  test('a new one raises the version, a renewal does not, and after a loss no version comes again', async () => {
    const say = (...patterns: string[]): Promise<number> =>
      subscribe(redis, keys.subscriptions, fields('a', patterns), 5_000);
    await say('x', 'y z');
    const first = Number(await versionNow());
    await say('y z', 'x');
    expect(Number(await versionNow())).toBe(first);
    await say('x', 'new');
    expect(Number(await versionNow())).toBe(first + 1);
    await redis.del(keys.subscriptions);
    // Redis' clock has to go on for that.
    await redis.wait(1, 5);
    await say('x', 'y z');
    expect(Number(await versionNow())).toBeGreaterThan(first + 1);
  });

  test('many are written in several calls', async () => {
    const patterns = range(0, 1_234).map((n) => `p${n}`);
    await subscribe(redis, keys.subscriptions, fields('a', patterns), 5_000);
    await expect(redis.hlen(keys.subscriptions)).resolves.toBe(1_235);
    const [seconds] = await redis.time();
    const found = parseSubscriptions(await redis.hgetall(keys.subscriptions));
    expect(found.every(({ lastSeen }) => Math.abs(lastSeen - Number(seconds) * 1000) < 5_000)).toBe(true);
    await expect(forgetSubscriptions(redis, keys, found)).resolves.toHaveLength(1_234);
    await expect(redis.hkeys(keys.subscriptions)).resolves.toEqual(['version']);
  });

  test('one that was renewed since it was read is not removed', async () => {
    await subscribe(redis, keys.subscriptions, fields('a', ['x', 'y']), 5_000);
    await redis.hset(keys.floors, `${keys.topic('x')} a`, '1-1', `${keys.topic('y')} a`, '2-2');
    const found = parseSubscriptions(await redis.hgetall(keys.subscriptions));
    await redis.wait(1, 5);
    await subscribe(redis, keys.subscriptions, fields('a', ['y']), 5_000);
    const version = Number(await versionNow());
    await expect(forgetSubscriptions(redis, keys, found)).resolves.toMatchObject([{ pattern: 'x' }]);
    await expect(redis.hgetall(keys.floors)).resolves.toEqual({ [`${keys.topic('y')} a`]: '2-2' });
    expect(Number(await versionNow())).toBe(version + 1);
    await expect(forgetSubscriptions(redis, keys, found)).resolves.toEqual([]);
    expect(Number(await versionNow())).toBe(version + 1);
  });
});

describe('removing a topic', () => {
  const drop = async (unregisterMissing = false): Promise<string> =>
    dropTopic(redis, keys, await versionNow(), 'told', 60_000, unregisterMissing);

  test('only one whose last event is old', async () => {
    await redis.sadd(keys.topics, 'told');
    await add('*');
    await expect(drop()).resolves.toBe('kept');
    await redis.del(TOPIC);
    await add('1-1');
    // Empty, but that was once its last event.
    await redis.xtrim(TOPIC, 'MAXLEN', 0);
    await expect(drop()).resolves.toBe('dropped');
    await expect(redis.exists(TOPIC, keys.topics)).resolves.toBe(0);
  });

  test('one without a stream only when asked to', async () => {
    await redis.sadd(keys.topics, 'told');
    await expect(drop()).resolves.toBe('missing');
    await expect(redis.scard(keys.topics)).resolves.toBe(1);
    await expect(drop(true)).resolves.toBe('missing');
    await expect(redis.scard(keys.topics)).resolves.toBe(0);
  });

  test('not where somebody has subscribed meanwhile', async () => {
    await add('1-1');
    await subscribe(redis, keys.subscriptions, fields('a', ['told']), 1_000);
    await expect(dropTopic(redis, keys, '', 'told', 1_000, true)).resolves.toBe('stale');
    await expect(redis.xlen(TOPIC)).resolves.toBe(1);
  });
});
