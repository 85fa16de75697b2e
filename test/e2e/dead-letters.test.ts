import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import {
  CommandFailedError,
  ConfigurationError,
  ConnectError,
  InvalidArgumentError,
  RedisStreamsContext,
  RedisStreamsDeadLetters,
  RedisStreamsModule,
  RedisStreamsServer,
  type RedisStreamsDeadLettersOptions,
  type StoredDeadLetter,
} from '../../lib/index.js';
import { encodeDeadLetterMeta, type DeadLetterMeta } from '../../lib/protocol/dead-letter.js';
import { closeAll, inspect, onClose, serve, testModule } from '../support/app.js';
import { expectRoles } from '../support/counting.js';
import { codeBlocks, readPage } from '../support/docs.js';
import { RedisServer, freePort } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const DEAD = '{nest:0}:dead:orders';
const INBOX = '{nest:0}:inbox:orders';
const TOPIC = '{nest:0}:topic:placed';

let server: RedisServer;
let redis: Redis;
let letters: RedisStreamsDeadLetters;

beforeAll(async () => {
  server = await RedisServer.start();
});
beforeEach(async () => {
  redis = inspect(server.url);
  await redis.flushall();
  letters = administer();
});
afterEach(closeAll);
afterAll(() => server.stop());

function administer(options: RedisStreamsDeadLettersOptions = {}): RedisStreamsDeadLetters {
  const made = new RedisStreamsDeadLetters({ connection: server.url, service: 'orders', ...options });
  onClose(() => made.close());
  return made;
}

/** Fields of a dead letter: what was noted, and the message. */
function letter(message: (string | Buffer)[], meta: Partial<DeadLetterMeta> = {}): (string | Buffer)[] {
  const noted: DeadLetterMeta = {
    stream: TOPIC,
    entryId: '1700000000000-3',
    reason: 'failed',
    errorName: 'TypeError',
    errorMessage: 'x is not a function',
    deliveries: 5,
    instance: 'host-1-a',
    ...meta,
  };
  return [...encodeDeadLetterMeta(noted), ...message];
}

/** Adds dead letters of these patterns with the ids 1-0, 2-0 … */
async function bury(...patterns: string[]): Promise<void> {
  for (const [i, pattern] of patterns.entries()) {
    await redis.xadd(DEAD, `${i + 1}-0`, ...letter(['pattern', pattern, 'data', String(i + 1)]));
  }
}

function idsOf({ letters: found }: { letters: StoredDeadLetter[] }): string[] {
  return found.map(({ id }) => id);
}

/** How often each command ran since `work` began. */
async function commandsOf(work: () => Promise<unknown>): Promise<Record<string, number>> {
  await redis.config('RESETSTAT');
  await work();
  const stats = await redis.info('commandstats');
  const counts = [...stats.matchAll(/cmdstat_([\w|]+):calls=(\d+)/g)].map(([, name, n]) => [name, Number(n)]);
  return Object.fromEntries(counts) as Record<string, number>;
}

describe('reading', () => {
  test('a letter has what was noted, when it died and was published, and the message', async () => {
    const data = Buffer.from([0xff, 0, 1]);
    const message = ['pattern', 'placed', 'data', data, 'headers', '{"tenant":"a"}', 'codec', 'own'];
    await redis.xadd(DEAD, '1700000001000-0', ...letter(message, { errorStack: 'TypeError: x\n  at y' }));
    const expected = {
      id: '1700000001000-0',
      service: 'orders',
      stream: TOPIC,
      entryId: '1700000000000-3',
      diedAt: new Date(1_700_000_001_000),
      publishedAt: new Date(1_700_000_000_000),
      reason: 'failed',
      errorName: 'TypeError',
      errorMessage: 'x is not a function',
      errorStack: 'TypeError: x\n  at y',
      deliveries: 5,
      instance: 'host-1-a',
      isCut: false,
      pattern: 'placed',
      requestId: undefined,
      headers: { tenant: 'a' },
      codec: 'own',
      data,
    };
    expect(await letters.get('1700000001000-0')).toEqual({ ...expected, fields: expect.any(Array) });
    expect((await letters.list()).letters).toEqual([{ ...expected, fields: expect.any(Array) }]);
  });

  test('what nobody could read can be seen', async () => {
    await redis.xadd(DEAD, '1-0', ...letter(['headers', '{', 'reply', '*'], { reason: 'malformed' }));
    await redis.xadd(DEAD, '2-0', 'not', 'a letter');
    expect((await letters.list()).letters).toMatchObject([
      { id: '1-0', reason: 'malformed', pattern: undefined, headers: undefined },
      { id: '2-0', reason: 'unknown', pattern: undefined, publishedAt: undefined },
    ]);
  });

  test('there are none, and there is no such one', async () => {
    expect(await letters.list()).toEqual({ letters: [], next: undefined });
    expect(await letters.count()).toBe(0);
    expect(await letters.get('1-0')).toBeUndefined();
  });

  test('pages follow one another to the end', async () => {
    await bury('a', 'b', 'c', 'd', 'e');
    const first = await letters.list({ limit: 2 });
    const second = await letters.list({ limit: 2, after: first.next });
    const third = await letters.list({ limit: 2, after: second.next });
    expect([first, second, third].map(idsOf)).toEqual([['1-0', '2-0'], ['3-0', '4-0'], ['5-0']]);
    expect(third.next).toBeUndefined();
    expect(await letters.count()).toBe(5);
  });

  test('by pattern, which is compared as a whole', async () => {
    await bury('a', 'b', '{"cmd":"a"}', 'a', 'ab');
    expect(idsOf(await letters.list({ pattern: 'a' }))).toEqual(['1-0', '4-0']);
    expect(idsOf(await letters.list({ pattern: '{"cmd":"a"}' }))).toEqual(['3-0']);
    const first = await letters.list({ pattern: 'a', limit: 1 });
    expect(idsOf(await letters.list({ pattern: 'a', after: first.next }))).toEqual(['4-0']);
  });

  test('by time, both ends included, and together with a pattern and a page', async () => {
    await bury('a', 'b', 'a', 'b', 'a');
    expect(idsOf(await letters.list({ from: 2, to: 4 }))).toEqual(['2-0', '3-0', '4-0']);
    expect(idsOf(await letters.list({ from: new Date(3), pattern: 'a' }))).toEqual(['3-0', '5-0']);
    expect(idsOf(await letters.list({ from: 2, to: new Date(4), after: '3-0' }))).toEqual(['4-0']);
    expect(idsOf(await letters.list({ from: 4, after: '1-0' }))).toEqual(['4-0', '5-0']);
  });

  test('of another service, and in another namespace', async () => {
    await redis.xadd('{nest:0}:dead:billing', '1-0', ...letter(['pattern', 'a']));
    await redis.xadd('{other:0}:dead:orders', '2-0', ...letter(['pattern', 'a']));
    expect((await letters.list({ service: 'billing' })).letters).toMatchObject([
      { id: '1-0', service: 'billing' },
    ]);
    expect(await letters.get('1-0', { service: 'billing' })).toBeDefined();
    expect(await letters.count()).toBe(0);
    expect(await administer({ namespace: 'other' }).count()).toBe(1);
  });
});

describe('a hundred thousand letters', () => {
  const COUNT = 100_000;

  beforeEach(async () => {
    await redis.eval(
      `for i = 1, ${COUNT} do redis.call('XADD', KEYS[1], i .. '-0', 'pattern', i == ${COUNT} and 'rare' or 'often') end`,
      1,
      DEAD,
    );
    await letters.connect();
  });

  test('a page is one read of as many as it has', async () => {
    const page = await letters.list();
    expect(page.letters).toHaveLength(50);
    expect(await commandsOf(() => letters.list())).toMatchObject({ xrange: 1 });
    expect(await commandsOf(() => letters.list({ limit: 1_000 }))).toMatchObject({ xrange: 10 });
  });

  test('a call that looks for a rare pattern ends after a thousand letters, and the next goes on', async () => {
    const first = await commandsOf(async () => {
      expect(await letters.list({ pattern: 'rare' })).toEqual({ letters: [], next: '1000-0' });
    });
    expect(first).toMatchObject({ xrange: 10 });
    let calls = 0;
    let found: StoredDeadLetter[] = [];
    const commands = await commandsOf(async () => {
      let after: string | undefined;
      do {
        const page = await letters.list({ pattern: 'rare', after });
        found = found.concat(page.letters);
        after = page.next;
        calls++;
      } while (after !== undefined);
    });
    expect(found.map(({ id }) => id)).toEqual([`${COUNT}-0`]);
    expect(calls).toBeLessThanOrEqual(COUNT / 1_000 + 1);
    expect(commands['xrange']).toBeLessThanOrEqual(COUNT / 100 + 1);
  });
});

describe('removing', () => {
  test('says which were there', async () => {
    await bury('a', 'b', 'c');
    expect(await letters.remove(['1-0', '9-0', '3-0', '1-0'])).toEqual({
      removed: ['1-0', '3-0'],
      missing: ['9-0'],
    });
    expect(await letters.remove('2-0')).toEqual({ removed: ['2-0'], missing: [] });
    expect(await letters.count()).toBe(0);
    expect(await letters.remove([])).toEqual({ removed: [], missing: [] });
  });
});

describe('replaying', () => {
  test('puts the message into the inbox without reply and ttl, and removes the letter', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const message = ['pattern', 'sum', 'data', bytes, 'id', 'i-1', 'reply', 'c-1', 'ttl', '5', 'x', ''];
    await redis.xadd(DEAD, '1-0', ...letter(message, { stream: INBOX, errorStack: 's' }));
    const { replayed, ...rest } = await letters.replay('1-0');

    expect(rest).toEqual({ missing: [], empty: [] });
    const [[entryId, fields]] = (await redis.xrangeBuffer(INBOX, '-', '+')) as [[Buffer, Buffer[]]];
    expect(replayed).toEqual([{ id: '1-0', entryId: entryId.toString() }]);
    expect(fields).toEqual(
      ['pattern', 'sum', 'data', bytes, 'id', 'i-1', 'x', ''].map((field) => Buffer.from(field)),
    );
    expect(await letters.count()).toBe(0);
  });

  test('says which were not there, and which hold nothing', async () => {
    await bury('a');
    await redis.xadd(DEAD, '2-0', ...letter([]));
    await redis.xadd(DEAD, '3-0', ...letter(['reply', 'c', 'ttl', '1']));
    expect(await letters.replay(['1-0', '2-0', '3-0', '4-0'])).toEqual({
      replayed: [{ id: '1-0', entryId: expect.any(String) }],
      missing: ['4-0'],
      empty: ['2-0', '3-0'],
    });
    expect(await letters.count()).toBe(2);
  });

  test('a letter that two replay at once is replayed once', async () => {
    const ids = Array.from({ length: 200 }, (_, i) => `${i + 1}-0`);
    await bury(...ids.map(() => 'a'));
    const other = administer();
    const results = await Promise.all([letters.replay(ids), other.replay(ids), letters.replay(ids)]);
    const replayed = results.flatMap((result) => result.replayed.map(({ id }) => id));
    expect(replayed.sort()).toEqual([...ids].sort());
    expect(await redis.xlen(INBOX)).toBe(200);
  });

  test('is one command for each letter', async () => {
    const ids = Array.from({ length: 300 }, (_, i) => `${i + 1}-0`);
    await bury('warm-up', ...ids.slice(1).map(() => 'a'));
    await letters.replay('1-0');
    expect(await commandsOf(() => letters.replay(ids.slice(1)))).toMatchObject({ evalsha: 299, xadd: 299 });
  });

  test('out of memory: the letter stays where it was', async () => {
    await bury('a');
    await letters.connect();
    await redis.config('SET', 'maxmemory', '1');
    try {
      const failure = letters.replay('1-0');
      await expect(failure).rejects.toThrow(CommandFailedError);
      await expect(failure).rejects.toThrow(/^Dead letters of 'orders' could not be replayed: OOM /);
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
    expect(await letters.count()).toBe(1);
    expect(await redis.exists(INBOX)).toBe(0);
  });

  test('all of a pattern, and none that dies while it is done', async () => {
    const patterns = Array.from({ length: 450 }, (_, i) => (i % 3 === 0 ? 'a' : 'b'));
    await bury(...patterns);
    const done = letters.replayAll({ pattern: 'a' });
    await redis.xadd(DEAD, '*', ...letter(['pattern', 'a', 'data', 'late']));
    const replayed = await done;
    expect([150, 151]).toContain(replayed);
    expect(await redis.xlen(INBOX)).toBe(replayed);
    expect(await letters.count()).toBe(451 - replayed);
    expect((await letters.list({ pattern: 'b', limit: 1_000 })).letters).toHaveLength(300);
  });

  test('all there are, those without a message excepted', async () => {
    await bury('a', 'b');
    await redis.xadd(DEAD, '3-0', ...letter([]));
    expect(await letters.replayAll()).toBe(2);
    expect(await letters.replayAll()).toBe(0);
    expect(await letters.count()).toBe(1);
  });
});

describe('replaying to a service', () => {
  const handled: [service: string, data: unknown, context: RedisStreamsContext][] = [];

  @Controller()
  class OrdersController {
    @EventPattern<string>('placed')
    placed(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): void {
      handled.push(['orders', data, context]);
    }
    @MessagePattern('sum')
    sum(@Payload() numbers: number[], @Ctx() context: RedisStreamsContext): number {
      handled.push(['orders', numbers, context]);
      return numbers.length;
    }
  }

  @Controller()
  class BillingController {
    @EventPattern<string>('placed')
    placed(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): void {
      handled.push(['billing', data, context]);
    }
  }

  beforeEach(() => {
    handled.length = 0;
  });

  async function settled(stream: string, group: string): Promise<void> {
    await eventually(async () => {
      const [pending] = (await redis.xpending(stream, group)) as [number];
      const [info] = (await redis.xinfo('GROUPS', stream)) as [unknown[]];
      return pending === 0 && info[info.indexOf('lag') + 1] === 0;
    }, `${group} has handled everything of ${stream}`);
  }

  test('an event reaches it alone, and its deliveries start again', async () => {
    await serve({ connection: server.url, service: 'orders' }, OrdersController);
    await serve({ connection: server.url, service: 'billing' }, BillingController);
    const message = ['pattern', 'placed', 'data', '{"n":1}', 'headers', '{"tenant":"a"}'];
    await redis.xadd(DEAD, '1-0', ...letter(message));
    await letters.replay('1-0');

    await eventually(() => handled.length === 1, 'the event');
    await settled(INBOX, 'orders');
    const [[service, data, context]] = handled as [(typeof handled)[0]];
    expect([service, data]).toEqual(['orders', { n: 1 }]);
    expect(context).toMatchObject({ deliveryCount: 1, requestId: undefined, headers: { tenant: 'a' } });
    expect(await redis.exists(TOPIC)).toBe(1);
    expect(await redis.xlen(TOPIC)).toBe(0);
    expect(handled).toHaveLength(1);
  });

  test('a request runs its message handler, and nobody gets a reply', async () => {
    await serve({ connection: server.url, service: 'orders' }, OrdersController);
    await redis.xgroup('CREATE', 'nest:replies:c-1', 'g', '0', 'MKSTREAM');
    const message = ['pattern', 'sum', 'data', '[1,2]', 'id', 'i-1', 'reply', 'c-1', 'ttl', '1'];
    await redis.xadd(DEAD, '1-0', ...letter(message, { stream: INBOX, reason: 'exhausted' }));
    await letters.replay('1-0');

    await eventually(() => handled.length === 1, 'the request');
    await settled(INBOX, 'orders');
    const [[, data, context]] = handled as [(typeof handled)[0]];
    expect(data).toEqual([1, 2]);
    expect(context).toMatchObject({ requestId: 'i-1', deliveryCount: 1, deadline: undefined });
    expect(await redis.xlen('nest:replies:c-1')).toBe(0);
  });

  test('before the service has ever been started, it is there when it is', async () => {
    await bury('placed');
    await letters.replay('1-0');
    await serve({ connection: server.url, service: 'orders' }, OrdersController);
    await eventually(() => handled.length === 1, 'the event');
  });
});

describe('what it cannot be given', () => {
  test.each([
    ['an id without a number', () => letters.get('1700000000000'), "'1700000000000'"],
    ['a star', () => letters.replay('*'), "'*'"],
    ['a minus', () => letters.remove(['1-0', '-']), 'ids[1]'],
    ['an id beyond 64 bits', () => letters.get('18446744073709551616-0'), '18446744073709551616-0'],
    ['no id at all', () => letters.replay(undefined as unknown as string), 'undefined'],
    ['a cursor that is none', () => letters.list({ after: '(1-0' }), "'after'"],
    ['a limit of 0', () => letters.list({ limit: 0 }), 'from 1 to 1000, not 0'],
    ['a limit too large', () => letters.list({ limit: 1_001 }), 'from 1 to 1000'],
    ['an invalid date', () => letters.list({ from: new Date('x') }), "'from'"],
    ['a time that is text', () => letters.list({ to: '2026' as unknown as Date }), "'to'"],
    ['a pattern that is an object', () => letters.list({ pattern: {} as string }), "'pattern'"],
    ['a service with braces', () => letters.count({ service: '{a}' }), "'service' must be"],
  ])('%s', async (_, call, text) => {
    const failure = call();
    await expect(failure).rejects.toThrow(InvalidArgumentError);
    await expect(failure).rejects.toThrow(text);
  });

  test('nothing is done when one of several ids is wrong', async () => {
    await bury('a', 'b');
    await expect(letters.remove(['1-0', 'x', '2-0'])).rejects.toThrow(InvalidArgumentError);
    await expect(letters.replay(['1-0', 'x'])).rejects.toThrow(InvalidArgumentError);
    expect(await letters.count()).toBe(2);
  });

  test('a call without a service, where there is none of its own', async () => {
    const nobodys = administer({ service: undefined });
    await expect(nobodys.list()).rejects.toThrow(/Whose dead letters\?/);
    await expect(nobodys.replayAll()).rejects.toThrow(InvalidArgumentError);
    expect(await nobodys.count({ service: 'orders' })).toBe(0);
  });

  test('options that it does not know', () => {
    expect(() => new RedisStreamsDeadLetters({ codec: 1 } as RedisStreamsDeadLettersOptions)).toThrow(
      "RedisStreamsDeadLetters has no option 'codec'. Its options are: connection, namespace, shards, connectTimeout, service.",
    );
    expect(() => new RedisStreamsDeadLetters({ namespace: 'a b' })).toThrow(ConfigurationError);
  });
});

describe('its connection', () => {
  beforeEach(() => {
    jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
  });
  afterEach(() => {
    jest.restoreAllMocks();
  });

  test('is opened by the first call, and by the next one after close()', async () => {
    await expectRoles(redis);
    await letters.count();
    await expectRoles(redis, 'commands');
    await letters.close();
    await letters.close();
    await expectRoles(redis);
    expect(await letters.count()).toBe(0);
  });

  test('Redis that is not there is a ConnectError, and the next call tries again', async () => {
    const port = await freePort();
    const lost = administer({ connection: `redis://127.0.0.1:${port}`, connectTimeout: 200 });
    await expect(lost.count()).rejects.toThrow(ConnectError);
    await expect(lost.replay('1-0')).rejects.toThrow(ConnectError);
  });

  test('Redis that went away: a ConnectError, and it works again when Redis is back', async () => {
    const other = await RedisServer.start();
    onClose(() => other.stop());
    const lost = administer({ connection: other.url, connectTimeout: 300 });
    await lost.count();
    await other.kill();
    await eventually(
      () =>
        lost.count().then(
          () => false,
          (error: unknown) => error instanceof ConnectError,
        ),
      'a ConnectError',
    );
    await other.start();
    await eventually(() => lost.count().then(String, () => undefined), 'an answer');
  });
});

describe('in a module', () => {
  test('it is injected, has the service of the module, and shares its connection', async () => {
    await bury('a');
    const module = RedisStreamsModule.forRoot({ connection: server.url, service: 'orders' });
    const app = await NestFactory.createApplicationContext(testModule({ imports: [module] }), {
      logger: false,
    });
    const injected = app.get(RedisStreamsDeadLetters);
    expect(await injected.count()).toBe(1);
    expect(app.get(RedisStreamsServer)).toBeDefined();
    await expectRoles(redis, 'commands');
    await app.close();
    await expectRoles(redis);
  });

  test('options that are known later', async () => {
    const module = RedisStreamsModule.forRootAsync({
      useFactory: () => ({ connection: server.url, service: 'orders', lease: 5_000, timeout: 100 }),
    });
    const app = await NestFactory.createApplicationContext(testModule({ imports: [module] }), {
      logger: false,
    });
    onClose(() => app.close());
    expect(await app.get(RedisStreamsDeadLetters).count()).toBe(0);
  });
});

describe('the rights in docs/dead-letters.md', () => {
  test('are enough for every method, and hold nothing that is not needed', async () => {
    const line = codeBlocks(readPage('docs/dead-letters.md'))
      .flatMap(({ code }) => code.split('\n'))
      .find((text) => text.startsWith('user '))!;
    const [, name, ...rules] = line.split(' ') as [string, string, ...string[]];
    await redis.call('ACL', 'SETUSER', name, ...rules);
    const password = rules.find((rule) => rule.startsWith('>'))!.slice(1);
    const limited = administer({
      // Without INFO, ioredis' own check would only write a warning.
      connection: { host: '127.0.0.1', port: server.port, username: name, password, enableReadyCheck: false },
    });
    await bury('a', 'b', 'c');
    const used = await commandsOf(async () => {
      await redis.script('FLUSH');
      await limited.list();
      await limited.get('1-0');
      await limited.remove('1-0');
      await limited.replay('2-0');
      expect(await limited.replayAll()).toBe(1);
      expect(await limited.count()).toBe(0);
    });
    const granted = rules.filter((rule) => rule.startsWith('+')).map((rule) => rule.slice(1));
    expect(granted.filter((command) => used[command] === undefined)).toEqual([]);
    await redis.call('ACL', 'DELUSER', name);
  });
});
