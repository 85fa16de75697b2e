import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, type Type } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import {
  ConfigurationError,
  DeadLetter,
  RedisStreamsContext,
  type EventHandlerOptions,
  type RedisStreamsClientOptions,
  type RedisStreamsServer,
  type RedisStreamsServerOptions,
} from '../../lib/index.js';
import { settledWithin } from '../../lib/util/time.js';
import { closeAll, connect, inspect, Lines, serve, serveModule } from '../support/app.js';
import { expectRoles } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import {
  callsOf,
  expectEmpty,
  FLOORS,
  reportsOf,
  settledUpTo,
  subscribeByHand,
  SUBSCRIPTIONS,
  topicOf,
} from '../support/retention.js';
import { pendingIn } from '../support/streams.js';
import { deferred, eventually } from '../support/wait.js';

const TOPIC = topicOf('flags');

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

type Handle = (data: number, context: RedisStreamsContext) => unknown;

/** A controller with one handler. */
function handler(pattern: string, options: EventHandlerOptions, handle: Handle): Type {
  @Controller()
  class Listener {
    @EventPattern<string>(pattern, { ...options })
    on(@Payload() data: number, @Ctx() context: RedisStreamsContext): unknown {
      return handle(data, context);
    }
  }
  return Listener;
}

/** An instance with a broadcast handler, and what that was called with. */
async function instance(
  service: string,
  pattern = 'flags',
  options: Partial<RedisStreamsServerOptions> = {},
): Promise<{ server: RedisStreamsServer; got: number[]; app: { close(): Promise<void> } }> {
  const got: number[] = [];
  const controller = handler(pattern, { broadcast: true }, (data) => got.push(data));
  return { got, ...(await serve({ connection: redis.url, service, ...options }, controller)) };
}

function publisher(
  options: Partial<RedisStreamsClientOptions> = {},
): (pattern: string, ...data: number[]) => Promise<void> {
  const client = connect({ connection: redis.url, ...options });
  return async (pattern, ...data) => {
    for (const one of data) {
      await lastValueFrom(client.emit(pattern, one), { defaultValue: undefined });
    }
  };
}

/** Ends the connections of a role, as a network that fails does. */
async function cut(role: string): Promise<void> {
  let ids: string[] = [];
  await eventually(async () => {
    const list = (await look.client('LIST')) as string;
    const found = list.matchAll(new RegExp(`^id=(\\d+) .*name=nestjs-redis-streams:${role} `, 'gm'));
    ids = [...found].map(([, id]) => id!);
    return ids.length > 0;
  }, `a connection for ${role}`);
  await Promise.all(ids.map((id) => look.client('KILL', 'ID', id)));
}

test('every instance of every service is called, and a handler that is no broadcast in one of them', async () => {
  const all = await Promise.all([instance('a'), instance('a'), instance('b')]);
  const once: number[] = [];
  const durable = handler('flags', {}, (data, context) => {
    expect(context.isBroadcast).toBe(false);
    once.push(data);
  });
  await serve({ connection: redis.url, service: 'b' }, durable);
  const both = handler('flags', { broadcast: true }, (data, context) => {
    expect([context.isBroadcast, context.pattern, context.deliveryCount]).toEqual([true, 'flags', 1]);
    mixed.push(data);
  });
  const mixed: number[] = [];
  await serve({ connection: redis.url, service: 'b' }, durable, both);
  await publisher()('flags', 1, 2, 3);
  for (const { got } of all) {
    await eventually(() => got.length === 3, 'each instance to have all');
    expect(got).toEqual([1, 2, 3]);
  }
  await eventually(() => mixed.length === 3 && once.length === 3, 'the others');
  await eventually(async () => (await pendingIn(look, TOPIC, 'b')) === 0, 'the events to be acknowledged');
  expect(once.sort()).toEqual([1, 2, 3]);
});

test('an instance sees what was published since it listens, and nothing from before', async () => {
  const publish = publisher();
  await publish('flags', 1, 2);
  const first = await instance('a');
  await publish('flags', 3);
  const second = await instance('a');
  await publish('flags', 4);
  await eventually(() => first.got.length === 2 && second.got.length === 1, 'what is new');
  expect([first.got, second.got]).toEqual([[3, 4], [4]]);
});

test('there is no group, no pending entry and no trace of it but the subscription; the connection is its own', async () => {
  await instance('a');
  await publisher()('flags', 1);
  await expectRoles(look, 'commands', 'inbox', 'control', 'broadcast', 'commands', 'replies');
  await expect(look.xinfo('GROUPS', TOPIC)).resolves.toEqual([]);
  expect((await look.hkeys(SUBSCRIPTIONS)).sort()).toEqual(['version', '{a} flags']);
});

test('an instance that is idle sends nothing but its reads', async () => {
  await instance('a');
  await publisher()('flags', 1);
  await look.config('RESETSTAT');
  const since = performance.now();
  await eventually(() => performance.now() - since > 2_000, 'two seconds');
  await expect(callsOf(look, 'xread', 'hmget', 'evalsha', 'time', 'xinfo')).resolves.toBeLessThan(8);
});

test('a connection that is lost loses nothing, and repeats nothing', async () => {
  const { got, server } = await instance('a');
  const missed = reportsOf(server, 'broadcastsMissed');
  const publish = publisher();
  for (let n = 0; n < 60; n++) {
    if (n % 20 === 10) {
      await cut('broadcast');
    }
    await publish('flags', n);
  }
  await eventually(() => got.length === 60, 'all of them');
  expect(got).toEqual(Array.from({ length: 60 }, (_, n) => n));
  expect(missed).toEqual([]);
});

test('after FLUSHALL it goes on, from the beginning of what is there', async () => {
  const { got } = await instance('a');
  const publish = publisher();
  await publish('flags', 1);
  await eventually(() => got.length === 1, 'the first');
  // As a Redis whose clock is behind would give ids.
  await look.multi().flushall().xadd(TOPIC, '5-1', 'pattern', 'flags', 'data', '2').exec();
  await cut('commands');
  await eventually(() => got.includes(2), 'the event with a lower id', 10_000);
});

describe('wildcards', () => {
  test('a topic that comes later is read by each instance from its beginning', async () => {
    const all = await Promise.all([
      instance('a', 'flags.*'),
      instance('a', 'flags.*'),
      instance('b', 'flags.>'),
    ]);
    const since = performance.now();
    await publisher()('flags.beta', 1, 2);
    for (const { got } of all) {
      await eventually(() => got.length === 2, 'both events');
      expect(got).toEqual([1, 2]);
    }
    expect(performance.now() - since).toBeLessThan(1_500);
    await expect(look.xinfo('GROUPS', topicOf('flags.beta'))).resolves.toEqual([]);
  });

  test('what is in a topic before its news has arrived is read', async () => {
    const { got } = await instance('a', 'flags.*');
    const pattern = 'flags.quick';
    await look
      .multi()
      .xadd('{nest:0}:announce', '*', 'topic', pattern)
      .sadd('{nest:0}:topics', pattern)
      .xadd(topicOf(pattern), '*', 'pattern', pattern, 'data', '1')
      .exec();
    await eventually(() => got.includes(1), 'the first event');
  });

  test('of a topic that is there already, what is new is read', async () => {
    const publish = publisher();
    await publish('flags.old', 1);
    const { got } = await instance('a', 'flags.*');
    await publish('flags.old', 2);
    await eventually(() => got.length > 0, 'the new event');
    expect(got).toEqual([2]);
  });

  test('they live in all shards', async () => {
    const options = { shards: 4, namespace: 'spread' };
    const { got } = await instance('a', 'flags.*', options);
    const exact = await instance('a', 'flags.3', options);
    const publish = publisher(options);
    for (let n = 0; n < 8; n++) {
      await publish(`flags.${n}`, n);
    }
    await eventually(() => got.length === 8 && exact.got.length === 1, 'one event of each');
    expect([...got].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe('what fails', () => {
  const retry = { maxDeliveries: 3, backoff: { type: 'fixed', delay: 20 } } as const;

  test('is tried again here as often as its handler asks for, and then dropped and reported', async () => {
    const lines = new Lines();
    const attempts: number[] = [];
    const succeeding: number[] = [];
    const failing = handler('flags', { broadcast: true, retry }, (_, context) => {
      attempts.push(context.deliveryCount);
      throw new RangeError('as asked');
    });
    const { server } = await serveModule(
      { connection: redis.url, service: 'a' },
      { controllers: [failing, handler('flags', { broadcast: true }, (data) => succeeding.push(data))] },
      { logger: lines },
    );
    const dropped = reportsOf(server, 'broadcastDropped');
    const retried = reportsOf(server, 'retried');
    await publisher()('flags', 1);
    await eventually(() => dropped.length === 1, 'it to be dropped');
    expect(attempts).toEqual([1, 2, 3]);
    expect(succeeding).toEqual([1]);
    expect(retried.map(({ kind, deliveries }) => [kind, deliveries])).toEqual([
      ['broadcast', 1],
      ['broadcast', 2],
    ]);
    expect(dropped[0]).toMatchObject({ kind: 'broadcast', pattern: 'flags', stream: TOPIC, deliveries: 3 });
    expect(lines.with('was not handled by this instance, at attempt 3, and is dropped')).toHaveLength(1);
    await expect(look.keys('*dead*')).resolves.toEqual([]);
  });

  test('is dropped at once where its handler says so, and what is malformed or belongs to no handler, too', async () => {
    const lines = new Lines();
    const rejecting = handler('flags', { broadcast: true, retry }, () => {
      throw new DeadLetter('never');
    });
    const { server } = await serveModule(
      { connection: redis.url, service: 'a' },
      { controllers: [rejecting] },
      { logger: lines },
    );
    const dropped = reportsOf(server, 'broadcastDropped');
    await look.xadd(TOPIC, '*', 'pattern', 'flags', 'data', '1');
    await look.xadd(TOPIC, '*', 'pattern', 'flags', 'data', 'no JSON');
    await look.xadd(TOPIC, '*', 'nothing', 'of use');
    await look.xadd(TOPIC, '*', 'pattern', 'another', 'data', '1');
    await eventually(() => dropped.length === 4, 'all to be dropped');
    expect(dropped.map(({ error }) => (error as Error).name).sort()).toEqual([
      'DeadLetter',
      'DeserializationError',
      'Error',
      'MalformedEntryError',
    ]);
  });

  test('waits in bounds: beyond them no more is read until there is room', async () => {
    let fails = true;
    const got: number[] = [];
    const patient = { maxDeliveries: 100, backoff: { type: 'fixed', delay: 30 } } as const;
    const controller = handler('flags', { broadcast: true, retry: patient }, (data) => {
      if (fails) {
        throw new Error('not yet');
      }
      got.push(data);
    });
    const { server } = await serve(
      { connection: redis.url, service: 'a', maxWaitingRetries: 2, eventConcurrency: 1 },
      controller,
    );
    const seen = new Set<string>();
    server.hooks.on('read', ({ entryId }) => seen.add(entryId));
    await publisher()('flags', ...Array.from({ length: 50 }, (_, n) => n));
    await eventually(() => seen.size >= 2, 'some to be read');
    const since = performance.now();
    await eventually(() => performance.now() - since > 300, 'some attempts');
    expect(seen.size).toBeLessThan(10);
    fails = false;
    await eventually(() => got.length === 50, 'all to be handled', 10_000);
  });

  test('context.ack() says that it is for others', async () => {
    const result = deferred<unknown>();
    const controller = handler('flags', { broadcast: true }, (_, context) => {
      try {
        context.ack();
      } catch (error) {
        result.resolve(error);
      }
    });
    await serve({ connection: redis.url, service: 'a', acknowledge: 'manual' }, controller);
    await publisher()('flags', 1);
    expect(await result.promise).toBeInstanceOf(ConfigurationError);
  });
});

test('closing waits for a broadcast that runs, and drops what waits for another attempt', async () => {
  const [began, held] = [deferred(), deferred()];
  let ended = false;
  const controller = handler('flags', { broadcast: true }, async (data) => {
    if (data === 2) {
      throw new Error('later');
    }
    began.resolve();
    await held.promise;
    ended = true;
  });
  const { app, server } = await serve({ connection: redis.url, service: 'a' }, controller);
  const [dropped, retried] = [reportsOf(server, 'broadcastDropped'), reportsOf(server, 'retried')];
  await publisher()('flags', 1, 2);
  await began.promise;
  await eventually(() => retried.length === 1, 'one to wait');
  const closing = app.close();
  await eventually(() => dropped.length === 1, 'what waits to be dropped');
  expect(await settledWithin(closing, 300)).toBe(false);
  expect(ended).toBe(false);
  held.resolve();
  await closing;
  expect(ended).toBe(true);
});

test('closing does not wait longer than it may', async () => {
  const began = deferred<AbortSignal>();
  const controller = handler('flags', { broadcast: true }, (_, context) => {
    began.resolve(context.signal);
    return new Promise(() => undefined);
  });
  const { app } = await serve({ connection: redis.url, service: 'a', shutdownTimeout: 50 }, controller);
  await publisher()('flags', 1);
  const signal = await began.promise;
  await app.close();
  expect(signal.aborted).toBe(true);
});

test('a broadcast that hangs keeps no other event from being handled', async () => {
  const [began, got] = [deferred(), deferred<number>()];
  const hanging = handler('flags', { broadcast: true }, () => {
    began.resolve();
    return new Promise(() => undefined);
  });
  const options = { connection: redis.url, service: 'a', eventConcurrency: 1, shutdownTimeout: 0 };
  await serve(
    options,
    hanging,
    handler('told', {}, (data) => got.resolve(data)),
  );
  const publish = publisher();
  await publish('flags', 1);
  await began.promise;
  await publish('told', 2);
  await expect(got.promise).resolves.toBe(2);
});

describe('how long broadcasts are kept', () => {
  const old = (n: number): string => `${Date.now() - 120_000}-${n}`;
  const add = (id: string, data: number): Promise<string | null> =>
    look.xadd(TOPIC, id, 'pattern', 'flags', 'data', String(data));

  test('the last minute stays though all services have settled it, and what is older goes', async () => {
    await add(old(1), 1);
    await add(old(2), 2);
    await instance('watcher');
    const got: number[] = [];
    await serve(
      { connection: redis.url, service: 'a' },
      handler('flags', {}, (data) => got.push(data)),
    );
    const id = (await add('*', 3))!;
    await settledUpTo(look, 'flags', 'a', id);
    await eventually(async () => (await look.xlen(TOPIC)) === 1, 'the old events to go');
    expect(got.sort()).toEqual([1, 2, 3]);
    await expect(look.xrange(TOPIC, '-', '+')).resolves.toMatchObject([[id, expect.anything()]]);
    expect(await look.hget(FLOORS, `cut ${TOPIC}`)).toMatch(/-2$/);
  });

  test('nobody waits for a group of a service that has only broadcast handlers', async () => {
    const { app } = await instance('watcher');
    await app.close();
    await serve(
      { connection: redis.url, service: 'a' },
      handler('flags', {}, () => undefined),
    );
    await add(old(1), 1);
    await expectEmpty(look, 'flags');
  });

  test('what only broadcast handlers subscribe to is trimmed by themselves, or by anybody else', async () => {
    await add(old(1), 1);
    await instance('watcher');
    await expectEmpty(look, 'flags');
    await subscribeByHand(look, '{away}', 'elsewhere', 0, 1_000_000);
    await look.sadd('{nest:0}:topics', 'elsewhere');
    await look.xadd(topicOf('elsewhere'), old(1), 'pattern', 'elsewhere', 'data', '1');
    await serve(
      { connection: redis.url, service: 'a', forgetAfter: 1_000 },
      handler('told', {}, () => undefined),
    );
    await expectEmpty(look, 'elsewhere', 10_000);
  });

  test('a full topic that only broadcast handlers read loses what is old without a word, and refuses what is young', async () => {
    await subscribeByHand(look, '{away}', 'flags');
    for (let n = 0; n < 5; n++) {
      await add(old(n), n);
    }
    const client = connect({ connection: redis.url, maxLength: 3 });
    const lost: unknown[] = [];
    client.hooks.on('entriesLost', (report) => lost.push(report));
    const publish = (): Promise<unknown> =>
      lastValueFrom(client.emit('flags', 9), { defaultValue: undefined });
    await eventually(async () => {
      await publish().catch(() => undefined);
      return (await look.xrange(TOPIC, '-', '+')).every(
        ([id]) => Number(id.split('-')[0]) > Date.now() - 60_000,
      );
    }, 'the old events to go');
    expect(lost).toEqual([]);
    await eventually(
      () =>
        publish().then(
          () => false,
          (error: Error) => error.name === 'StreamFullError',
        ),
      'a refusal',
    );
  });

  test('an instance that missed some says so: it was busy for too long', async () => {
    const held = deferred();
    const got: number[] = [];
    const lines = new Lines();
    const controller = handler('flags', { broadcast: true }, async (data) => {
      got.push(data);
      await held.promise;
    });
    const { server } = await serveModule(
      { connection: redis.url, service: 'a', eventConcurrency: 1 },
      { controllers: [controller] },
      { logger: lines },
    );
    const missed = reportsOf(server, 'broadcastsMissed');
    await publisher()('flags', 0);
    await eventually(() => got.length === 1, 'the first to begin');
    const publish = publisher({ maxLength: 5, whenFull: 'drop-oldest' });
    let n = 1;
    await eventually(async () => {
      await publish('flags', n++);
      return look.hexists(FLOORS, `cut ${TOPIC}`);
    }, 'the oldest to be dropped');
    const removed = (await look.hget(FLOORS, `cut ${TOPIC}`))!;
    held.resolve();
    await eventually(() => got.includes(n - 1), 'the last one');
    await eventually(() => missed.length === 1, 'the gap to be reported');
    expect(missed).toEqual([
      {
        service: 'a',
        instance: expect.any(String),
        pattern: 'flags',
        stream: TOPIC,
        after: expect.any(String),
        until: removed,
      },
    ]);
    expect(got.length).toBeLessThan(n);
    expect(lines.with('were removed before this instance read them')).toHaveLength(1);
  });
});

test('an option that is no boolean is refused', async () => {
  const wrong = handler('flags', { broadcast: 'yes' as unknown as boolean }, () => undefined);
  await expect(serve({ connection: redis.url, service: 'a' }, wrong)).rejects.toThrow(
    "Option 'broadcast' of the handler of 'flags' must be true or false, not 'yes'",
  );
});
