import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, type Type } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import { ConfigurationError, RedisStreamsContext, StreamFullError } from '../../lib/index.js';
import type { RedisStreamsServerOptions } from '../../lib/index.js';
import { closeAll, connect, inspect, Lines, serve, serveModule } from '../support/app.js';
import { expectRoles } from '../support/counting.js';
import { codeBlocks, readPage } from '../support/docs.js';
import { RedisServer } from '../support/redis-server.js';
import {
  callsOf,
  expectEmpty,
  listener,
  settledUpTo,
  subscribeByHand,
  TOPICS,
  topicOf,
} from '../support/retention.js';
import { pendingIn, pendingRows } from '../support/streams.js';
import { eventually } from '../support/wait.js';

const IDLE = '{nest:0}:idle';
const ANNOUNCE = '{nest:0}:announce';

let redis: RedisServer;
let look: Redis;
/** What was handled: `handler pattern data`. */
let handled: string[];
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
  handled = [];
});
afterEach(closeAll);
afterAll(() => redis.stop());

/** A controller with a handler for each of these patterns. */
function handlers(...patterns: string[]): Type[] {
  return patterns.map((pattern) => {
    @Controller()
    class Listener {
      @EventPattern<string>(pattern)
      on(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): void {
        handled.push(`${pattern} ${context.pattern} ${String(data)}`);
      }
    }
    return Listener;
  });
}

function start(
  service: string,
  patterns: string[],
  options: Partial<RedisStreamsServerOptions> = {},
): ReturnType<typeof serve> {
  return serve({ connection: redis.url, service, ...options }, ...handlers(...patterns));
}

async function emit(pattern: string, ...data: unknown[]): Promise<void> {
  const client = connect({ connection: redis.url });
  for (const one of data) {
    await lastValueFrom(client.emit(pattern, one), { defaultValue: undefined });
  }
}

const sawAll = (...lines: string[]): Promise<true> =>
  eventually(() => lines.every((line) => handled.includes(line)) as true, `[${lines.join()}] to be handled`);

test('a topic that first appears while a service runs is read from its beginning, within a second', async () => {
  await start('audit', ['orders.*']);
  const since = performance.now();
  await emit('orders.first', 1, 2, 3);
  await sawAll('orders.* orders.first 1', 'orders.* orders.first 2', 'orders.* orders.first 3');
  expect(performance.now() - since).toBeLessThan(1_000);
  // One that comes while a read of the others waits.
  await emit('orders.second', 4);
  await sawAll('orders.* orders.second 4');
  expect(performance.now() - since).toBeLessThan(2_000);
  await eventually(
    async () => (await pendingIn(look, topicOf('orders.second'), 'audit')) === 0,
    'the event to be acknowledged',
  );
  await expectEmpty(look, 'orders.first');
  expect(handled).toHaveLength(4);
});

test('many topics that come at once are all read', async () => {
  await start('audit', ['orders.>']);
  const client = connect({ connection: redis.url });
  const ids = Array.from({ length: 300 }, (_, i) => i);
  await Promise.all(
    ids.map((id) => lastValueFrom(client.emit(`orders.${id}.created`, id), { defaultValue: 0 })),
  );
  await eventually(() => handled.length === ids.length, 'all to be handled', 10_000);
  expect(new Set(handled).size).toBe(ids.length);
});

test('topics that were there before a service was are read from their beginnings', async () => {
  await emit('orders.created', 1, 2);
  await emit('orders.paid', 3);
  await emit('payments.made', 4);
  await start('audit', ['orders.*']);
  await sawAll('orders.* orders.created 1', 'orders.* orders.created 2', 'orders.* orders.paid 3');
  expect(handled).toHaveLength(3);
});

test('an event is handled once by each service, by all handlers of it whose patterns mean its topic', async () => {
  await start('audit', ['orders.*', 'orders.created', '>', 'payments.*']);
  await start('audit', ['orders.*', 'orders.created', '>', 'payments.*']);
  await start('other', ['*.created']);
  await emit('orders.created', 1);
  const expected = [
    '*.created orders.created 1',
    '> orders.created 1',
    'orders.* orders.created 1',
    'orders.created orders.created 1',
  ];
  await sawAll(...expected);
  await expectEmpty(look, 'orders.created');
  expect(handled.sort()).toEqual(expected);
});

test('of several handlers only the one that failed is called again', async () => {
  const calls: string[] = [];
  @Controller()
  class FailingController {
    @EventPattern<string>('orders.created')
    exact(): void {
      calls.push('exact');
    }
    @EventPattern<string>('orders.*', { retry: { maxDeliveries: 3, backoff: { type: 'fixed', delay: 20 } } })
    wild(@Ctx() context: RedisStreamsContext): void {
      calls.push(`wild ${context.deliveryCount}`);
      if (context.deliveryCount < 3) {
        throw new Error('as asked');
      }
    }
  }
  await serve({ connection: redis.url, service: 'audit' }, FailingController);
  await emit('orders.created', 1);
  await expectEmpty(look, 'orders.created', 5_000);
  expect(calls.sort()).toEqual(['exact', 'wild 1', 'wild 2', 'wild 3']);
});

test('nothing is trimmed, nor a topic removed, that a wildcard service which is down has not settled', async () => {
  const { app } = await start('audit', ['orders.*']);
  await emit('orders.known', 1);
  await sawAll('orders.* orders.known 1');
  await expectEmpty(look, 'orders.known');
  await app.close();
  // One topic of which it has a group, and one that it has never seen.
  await start('other', ['orders.known', 'orders.new'], { forgetAfter: 1_000 });
  await emit('orders.known', 2);
  await emit('orders.new', 3);
  for (const pattern of ['orders.known', 'orders.new']) {
    const [[id]] = (await look.xrange(topicOf(pattern), '-', '+')) as [[string, string[]]];
    await settledUpTo(look, pattern, 'other', id);
    await expect(look.xlen(topicOf(pattern))).resolves.toBe(1);
  }
  handled = [];
  await start('audit', ['orders.*']);
  await sawAll('orders.* orders.known 2', 'orders.* orders.new 3');
  await expectEmpty(look, 'orders.known');
  await expectEmpty(look, 'orders.new');
});

test('a full topic that only a wildcard means refuses events', async () => {
  await subscribeByHand(look, 'audit', 'orders.*');
  const client = connect({ connection: redis.url, maxLength: 3 });
  const publish = (pattern: string): Promise<unknown> =>
    lastValueFrom(client.emit(pattern, 1), { defaultValue: undefined });
  const refusedAt = async (pattern: string): Promise<unknown> => {
    try {
      for (let i = 0; i < 2_000; i++) {
        await publish(pattern);
      }
      return undefined;
    } catch (error) {
      return error;
    }
  };
  await look.xadd(topicOf('orders.full'), '1-1', 'pattern', 'orders.full', 'data', '1');
  await look.xadd(topicOf('free'), '1-1', 'pattern', 'free', 'data', '1');
  await look.xadd(topicOf('orders.full'), '1-2', 'pattern', 'orders.full', 'data', '1');
  await look.xadd(topicOf('orders.full'), '1-3', 'pattern', 'orders.full', 'data', '1');
  await look.xadd(topicOf('free'), '1-2', 'pattern', 'free', 'data', '1');
  await look.xadd(topicOf('free'), '1-3', 'pattern', 'free', 'data', '1');
  await publish('free');
  await eventually(async () => (await refusedAt('orders.full')) instanceof StreamFullError, 'a refusal');
  await expect(look.xrange(topicOf('orders.full'), '1-1', '1-1')).resolves.toHaveLength(1);
});

test('a wildcard lives in all shards, wherever a topic lies', async () => {
  const options = { shards: 4, namespace: 'spread' };
  await serve({ connection: redis.url, service: 'audit', ...options }, ...handlers('orders.*'));
  const client = connect({ connection: redis.url, ...options });
  const patterns = Array.from({ length: 12 }, (_, i) => `orders.${i}`);
  for (const pattern of patterns) {
    await lastValueFrom(client.emit(pattern, 0), { defaultValue: undefined });
  }
  await sawAll(...patterns.map((pattern) => `orders.* ${pattern} 0`));
  const counts = await Promise.all([0, 1, 2, 3].map((shard) => look.scard(`{spread:${shard}}:topics`)));
  expect(counts.filter((count) => count > 0).length).toBeGreaterThan(1);
  const fields = await Promise.all(
    [0, 1, 2, 3].map((shard) => look.hexists(`{spread:${shard}}:subscriptions`, 'audit orders.*')),
  );
  expect(fields).toEqual([1, 1, 1, 1]);
});

test('after FLUSHALL topics are found again, and what was published to them meanwhile', async () => {
  await start('audit', ['orders.*']);
  const client = connect({ connection: redis.url });
  const publish = (pattern: string, data: number): Promise<unknown> =>
    lastValueFrom(client.emit(pattern, data), { defaultValue: undefined });
  await publish('orders.known', 1);
  await sawAll('orders.* orders.known 1');
  await look.flushall();
  // Its publisher takes it for registered.
  await publish('orders.known', 2);
  await publish('orders.new', 3);
  await eventually(
    () => handled.includes('orders.* orders.known 2') && handled.includes('orders.* orders.new 3'),
    'the events after FLUSHALL',
    10_000,
  );
});

test('after FLUSHALL a topic to which nothing comes at that moment is read still', async () => {
  await start('audit', ['orders.*']);
  const client = connect({ connection: redis.url });
  await lastValueFrom(client.emit('orders.quiet', 1), { defaultValue: undefined });
  await sawAll('orders.* orders.quiet 1');
  await look.flushall();
  await eventually(async () => (await look.exists(topicOf('orders.quiet'))) === 1, 'its group', 10_000);
  // Its publisher takes it for registered.
  await lastValueFrom(client.emit('orders.quiet', 2), { defaultValue: undefined });
  await sawAll('orders.* orders.quiet 2');
});

test('the news of topics that was missed while the connection was lost is made up for', async () => {
  await start('audit', ['orders.*']);
  await emit('orders.before', 0);
  await sawAll('orders.* orders.before 0');
  const ids = ((await look.client('LIST')) as string)
    .split('\n')
    .filter((line) => line.includes('name=nestjs-redis-streams:control'))
    .map((line) => /id=(\d+)/.exec(line)![1]!);
  const transaction = look.multi();
  for (const id of ids) {
    transaction.client('KILL', 'ID', id);
  }
  // The news is there and gone, before the connection is there again.
  transaction.xadd(ANNOUNCE, '*', 'topic', 'orders.missed').sadd(TOPICS, 'orders.missed').del(ANNOUNCE);
  transaction.xadd(topicOf('orders.missed'), '*', 'pattern', 'orders.missed', 'data', '1');
  await transaction.exec();
  await sawAll('orders.* orders.missed 1');
});

test('a service of wildcards alone listens though there is no topic, sends next to nothing while idle, and closes', async () => {
  const { app } = await start('audit', ['orders.*']);
  await expectRoles(look, 'commands', 'inbox', 'topics', 'control');
  await look.config('RESETSTAT');
  const since = performance.now();
  await eventually(() => performance.now() - since > 2_000, 'two seconds');
  const commands = ['sscan', 'smembers', 'zrange', 'xread', 'xreadgroup', 'evalsha', 'xpending', 'client'];
  await expect(callsOf(look, ...commands)).resolves.toBeLessThan(8);
  await emit('orders.late', 1);
  await sawAll('orders.* orders.late 1');
  await app.close();
});

test('what an instance of another version left in a topic that a wildcard means is taken from it', async () => {
  await start('audit', ['told'], { lease: 300 });
  const stream = topicOf('orders.left');
  await subscribeByHand(look, 'audit', 'orders.*');
  await look.sadd(TOPICS, 'orders.left');
  await look.xgroup('CREATE', stream, 'audit', '0', 'MKSTREAM');
  await look.xadd(stream, '*', 'pattern', 'orders.left', 'data', '1');
  await look.hset('{nest:0}:instances:audit', 'dead-1-x', '1');
  await look.xreadgroup('GROUP', 'audit', 'dead-1-x', 'COUNT', 1, 'STREAMS', stream, '>');
  await eventually(
    async () => (await pendingRows(look, stream, 'audit')).every(({ consumer }) => consumer === '~'),
    'the entry to be free',
    10_000,
  );
});

describe('topics that come and go', () => {
  const isLeaving = (pattern: string): Promise<string> =>
    eventually(() => look.zscore(IDLE, pattern), `'${pattern}' to leave`, 10_000);
  const longAgo = (pattern: string): Promise<unknown> => look.zadd(IDLE, 1, pattern);
  const isGone = async (pattern: string): Promise<void> => {
    await eventually(async () => (await look.exists(topicOf(pattern))) === 0, `'${pattern}' to go`, 10_000);
  };

  test('leave nothing behind: no stream, no group, no floor, no name', async () => {
    const { server } = await start('audit', ['orders.*'], { forgetAfter: 1_000 });
    await start('other', ['orders.>'], { forgetAfter: 1_000 });
    await emit('orders.1', 1);
    await emit('orders.2', 2);
    await sawAll('orders.* orders.1 1', 'orders.> orders.2 2');
    for (const pattern of ['orders.1', 'orders.2']) {
      await isLeaving(pattern);
      await expect(look.exists(topicOf(pattern))).resolves.toBe(1);
      await longAgo(pattern);
      await isGone(pattern);
    }
    await expect(look.smembers(TOPICS)).resolves.toEqual([]);
    await expect(look.zcard(IDLE)).resolves.toBe(0);
    await eventually(async () => (await look.keys('*topic:*')).length === 0, 'no topic to be left');
    const floors = await look.hkeys('{nest:0}:floors');
    expect(floors.filter((field) => field.includes('orders.'))).toEqual([]);
    const { worker } = server as unknown as {
      worker: { shards: { streams: { topics: string[] }; groups: { known: Set<string> } }[] };
    };
    await eventually(
      () => worker.shards[0]!.streams.topics.length === 0,
      'the instance to read them no more',
    );
    expect([...worker.shards[0]!.groups.known]).toEqual(['{nest:0}:inbox:audit']);
    // And they may come again.
    await emit('orders.1', 3);
    await sawAll('orders.* orders.1 3', 'orders.> orders.1 3');
  });

  test('stay where somebody subscribes by name, or something is not settled', async () => {
    await subscribeByHand(look, 'down', 'orders.needed', 0, 1_000_000);
    await subscribeByHand(look, 'other', 'held.*', 0, 1_000_000);
    await start('audit', ['orders.*'], { forgetAfter: 1_000 });
    await emit('orders.idle', 1);
    await emit('orders.needed', 2);
    await emit('held.one', 3);
    await isLeaving('orders.idle');
    await longAgo('orders.idle');
    await isGone('orders.idle');
    await expect(look.zrange(IDLE, '0', '-1')).resolves.toEqual([]);
    expect((await look.smembers(TOPICS)).sort()).toEqual(['held.one', 'orders.needed']);
    await expect(look.xlen(topicOf('held.one'))).resolves.toBe(1);
  });

  test('an event to one that is leaving, by a publisher that takes it for registered, is handled and keeps it', async () => {
    await start('audit', ['orders.*'], { forgetAfter: 1_000 });
    const client = connect({ connection: redis.url });
    await lastValueFrom(client.emit('orders.1', 1), { defaultValue: undefined });
    await isLeaving('orders.1');
    await expect(look.sismember(TOPICS, 'orders.1')).resolves.toBe(0);
    // An instance that starts now reads it, too.
    await start('late', ['orders.*'], { forgetAfter: 1_000_000 });
    const groups = (await look.xinfo('GROUPS', topicOf('orders.1'))) as unknown[][];
    expect(groups.map(([, name]) => name)).toContain('late');
    await lastValueFrom(client.emit('orders.1', 2), { defaultValue: undefined });
    await eventually(
      () => handled.filter((line) => line === 'orders.* orders.1 2').length === 2,
      'both services',
    );
    await lastValueFrom(client.emit('orders.1', 3), { defaultValue: undefined });
    await longAgo('orders.1');
    await eventually(
      () => handled.filter((line) => line === 'orders.* orders.1 3').length === 2,
      'both services, though it had left long ago',
    );
  });

  test('one that was cut off from its name is registered again', async () => {
    await subscribeByHand(look, 'down', 'orders.*', 0, 1_000_000);
    await look.zadd(IDLE, 1, 'orders.1');
    await look.xadd(topicOf('orders.1'), '*', 'pattern', 'orders.1', 'data', '1');
    await start('other', ['told'], { forgetAfter: 1_000 });
    await eventually(async () => (await look.sismember(TOPICS, 'orders.1')) === 1, 'its name', 10_000);
    await expect(look.zcard(IDLE)).resolves.toBe(0);
    await start('down', ['orders.*']);
    await sawAll('orders.* orders.1 1');
  });
});

test('the rights in docs/broadcast.md are enough, with the least ones of a server', async () => {
  const user = codeBlocks(readPage('docs/configuration.md'))
    .flatMap(({ code }) => code.split('\n'))
    .find((line) => line.startsWith('user orders-server '))!;
  const page = readPage('docs/broadcast.md').text;
  const section = page.slice(page.indexOf('### Rights in Redis'));
  const more = [...section.matchAll(/`([+~][^`]+)`/g)].flatMap(([, rights = '']) => rights.split(' '));
  expect(more.length).toBeGreaterThan(10);
  const [, name = '', ...rules] = user.split(' ');
  await look.call('ACL', 'SETUSER', name, ...rules, ...more, '+client|id', '+client|unblock');
  const [password = ''] = rules.filter((rule) => rule.startsWith('>'));
  const connection = {
    host: '127.0.0.1',
    port: redis.port,
    username: name,
    password: password.slice(1),
    enableReadyCheck: false,
  };
  const lines = new Lines();
  @Controller()
  class EachController {
    @EventPattern<string>('orders.>', { broadcast: true })
    each(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): void {
      handled.push(`each ${context.pattern} ${String(data)}`);
    }
  }
  await serveModule(
    { connection, service: 'orders', forgetAfter: 1_000 },
    { controllers: [...handlers('orders.*'), EachController] },
    { logger: lines },
  );
  await emit('orders.1', 1);
  await sawAll('orders.* orders.1 1', 'each orders.1 1');
  await look.xtrim(topicOf('orders.1'), 'MAXLEN', 0);
  await eventually(() => look.zscore(IDLE, 'orders.1'), 'it to leave', 10_000);
  await look.zadd(IDLE, 1, 'orders.1');
  await eventually(async () => (await look.exists(topicOf('orders.1'))) === 0, 'it to go', 10_000);
  expect(lines.all.filter((line) => !line.startsWith('log:'))).toEqual([]);
});

describe('what is refused', () => {
  test.each(['orders.*', '>', 'a.*.b'])("an event to '%s'", async (pattern) => {
    const client = connect({ connection: redis.url });
    const emitted = lastValueFrom(client.emit(pattern, 1));
    await expect(emitted).rejects.toThrow(ConfigurationError);
    await expect(emitted).rejects.toThrow(`The event '${pattern}' was not published`);
    await expect(look.exists(topicOf(pattern))).resolves.toBe(0);
  });

  test('a handler of what only looks like a wildcard', async () => {
    await expect(
      serve(
        { connection: redis.url, service: 'a' },
        listener('orders*', () => 0),
      ),
    ).rejects.toThrow("The event pattern 'orders*' has '*' within a segment");
  });
});
