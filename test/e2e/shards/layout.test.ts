import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, Logger, type INestMicroservice, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import {
  ConnectError,
  InvalidArgumentError,
  LayoutChangeRefusedError,
  LayoutMismatchError,
  RedisStreamsContext,
  RedisStreamsLayout,
  RedisStreamsModule,
  type LayoutState,
  type RedisStreamsClient,
} from '../../../lib/index.js';
import { shardOf } from '../../../lib/redis/sharding.js';
import { closeAll, connect, inspect, onClose, serve, testModule } from '../../support/app.js';
import { freePort, RedisServer } from '../../support/redis-server.js';
import { topicKey } from '../../support/shards.js';
import { eventually } from '../../support/wait.js';

/** They lie in all shards, whatever the number, and none stays where it was in each of 1, 3 and 2. */
const PATTERNS = ['told', 'told.a', 'told.b', 'told.c', 'failing', 'failing.a', 'failing.c'];

let server: RedisServer;
let redis: Redis;
let layout: RedisStreamsLayout;
beforeAll(async () => {
  Logger.overrideLogger(false);
  server = await RedisServer.start();
});
beforeEach(async () => {
  redis = inspect(server.url);
  await redis.flushall();
  layout = new RedisStreamsLayout({ connection: server.url });
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await server.stop();
});

/** What a service has handled. */
class Ledger {
  readonly events: [pattern: string, data: unknown, publishedAt: number][] = [];
  readonly requests: unknown[] = [];

  /** A controller for these event patterns, and requests. */
  controller(patterns: string[]): Type {
    const { events, requests } = this;
    @Controller()
    class LedgerController {
      @EventPattern<string[]>(patterns)
      on(@Payload() data: unknown, @Ctx() { pattern, publishedAt }: RedisStreamsContext): void {
        events.push([pattern, data, publishedAt.getTime()]);
      }
      @MessagePattern('ask')
      ask(@Payload() data: unknown): unknown {
        requests.push(data);
        return data;
      }
    }
    return LedgerController;
  }

  /** Starts an instance. */
  async start(service: string, shards: number, patterns = PATTERNS): Promise<INestMicroservice> {
    const options = { connection: server.url, service, shards, lease: 2_000 };
    return (await serve(options, this.controller(patterns))).app;
  }
}

const clientFor = (shards: number): RedisStreamsClient =>
  connect({ connection: server.url, service: 'orders', shards, timeout: 15_000 });

const emit = (client: RedisStreamsClient, pattern: string, data: unknown): Promise<void> =>
  lastValueFrom(client.emit<void>(pattern, data), { defaultValue: undefined });

async function drained(): Promise<LayoutState> {
  return eventually(async () => {
    const state = await layout.state();
    return state.isDrained ? state : undefined;
  }, 'the namespace to be drained');
}

async function refusal(shards: number): Promise<LayoutChangeRefusedError> {
  const error: unknown = await layout.change({ shards }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LayoutChangeRefusedError);
  return error as LayoutChangeRefusedError;
}

/** Makes a namespace of three shards that nobody uses. */
async function used(): Promise<void> {
  const client = clientFor(3);
  await client.connect();
  await client.close();
}

const shardsIn = (shard: number): Promise<string | null> => redis.hget(`{nest:${shard}}:layout`, 'shards');

test('from 1 to 3 to 2 shards under load: nothing is lost, and nothing is left behind', async () => {
  const orders = new Ledger();
  const billing = new Ledger();
  const sent: string[] = [];
  const published: string[] = [];
  for (const shards of [1, 3, 2, 1]) {
    await layout.change({ shards });
    const apps = [await orders.start('orders', shards), await billing.start('billing', shards)];
    const client = clientFor(shards);
    const answers: Promise<string>[] = [];
    for (let i = 0; i < 50; i++) {
      for (const pattern of PATTERNS) {
        published.push(`${pattern} ${shards}-${i}`);
        client.emit(pattern, `${shards}-${i}`);
      }
      sent.push(`${shards}-${i}`);
      answers.push(firstValueFrom(client.send<string>('ask', `${shards}-${i}`)));
      if (i % 7 === 0) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await Promise.all(answers);
    await client.close();
    await drained();
    await Promise.all(apps.map((app) => app.close()));
    const state = await layout.state();
    expect(state).toMatchObject({ shards, instances: [], clients: [], waiting: [], unclaimed: [] });
  }
  const texts = ({ events }: Ledger): string[] =>
    events.map(([pattern, data]) => `${pattern} ${String(data)}`);
  expect(texts(orders).sort()).toEqual([...published].sort());
  expect(texts(billing).sort()).toEqual([...published].sort());
  expect(orders.requests.sort()).toEqual([...sent].sort());
  const keys = await redis.keys('*');
  expect(keys.filter((key) => /^\{nest:[1-9]/.test(key)).sort()).toEqual([
    '{nest:1}:layout',
    '{nest:2}:layout',
  ]);
}, 60_000);

test('what is published after the change is kept for a service that was down all the while', async () => {
  const billing = new Ledger();
  const orders = new Ledger();
  await (await billing.start('billing', 1)).close();
  await (await orders.start('orders', 1)).close();
  let last = 0;
  for (const shards of [3, 2]) {
    await layout.change({ shards });
    const app = await orders.start('orders', shards);
    const client = clientFor(shards);
    for (const pattern of PATTERNS) {
      await emit(client, pattern, shards);
    }
    await client.close();
    last += PATTERNS.length;
    await eventually(() => orders.events.length === last, 'the one that runs to have them');
    for (const pattern of PATTERNS) {
      const topic = topicKey(pattern, 'nest', shards);
      const floors = `{nest:${shardOf(pattern, shards)}}:floors`;
      // It has been looked at what may be trimmed.
      await eventually(() => redis.hget(floors, `${topic} orders`), 'a floor');
      await expect(redis.xlen(topic)).resolves.toBe(1);
    }
    await app.close();
    // Since the one that is down has not had them.
    const { obstacles } = await refusal(1);
    expect(obstacles.filter((text) => text.includes("'billing' has not handled 1 events of"))).toHaveLength(
      PATTERNS.length,
    );
    const late = await billing.start('billing', shards);
    await eventually(() => billing.events.length === last, 'the one that was down to have them');
    await drained();
    await late.close();
  }
});

test('events that nobody subscribes to yet are carried over, as they were published', async () => {
  const client = clientFor(1);
  const at: Record<string, number> = {};
  for (const pattern of PATTERNS) {
    for (let i = 0; i < 45; i++) {
      await emit(client, pattern, i);
    }
    const [first] = await redis.xrange(topicKey(pattern), '-', '+', 'COUNT', 1);
    at[pattern] = Number(first![0].split('-')[0]);
  }
  await client.close();
  // Of a group that was there once, and would be taken for that of a topic of the same key.
  await redis.hset(
    '{nest:0}:floors',
    '{nest:0}:topic:told.a gone',
    '9-0',
    '{nest:0}:topic:told.c kept',
    '9-0',
  );
  const state = await layout.state();
  expect(state.isDrained).toBe(true);
  expect(state.unclaimed).toHaveLength(PATTERNS.length);
  expect(state.unclaimed).toContainEqual({ shard: 0, pattern: 'told.a', entries: 45 });
  await layout.change({ shards: 3 });
  await expect(redis.hkeys('{nest:0}:floors')).resolves.toEqual(['{nest:0}:topic:told.c kept']);
  await layout.change({ shards: 2 });
  const late = new Ledger();
  await late.start('late', 2);
  await eventually(() => late.events.length === 45 * PATTERNS.length, 'all events');
  for (const pattern of PATTERNS) {
    const its = late.events.filter(([its]) => its === pattern);
    expect(its.map(([, data]) => data)).toEqual(Array.from({ length: 45 }, (_, i) => i));
    expect(its[0]![2]).toBe(at[pattern]);
    await expect(redis.sismember(`{nest:${shardOf(pattern, 2)}}:topics`, pattern)).resolves.toBe(1);
  }
});

describe('it is refused, and everything stays as it was, while', () => {
  afterEach(async () => {
    // Who has this number still starts.
    await expect(shardsIn(0)).resolves.toBe('3');
    await expect(redis.hexists('{nest:0}:layout', 'changing')).resolves.toBe(0);
  });

  test('an instance runs', async () => {
    const app = await new Ledger().start('orders', 3);
    const { obstacles, message } = await refusal(2);
    expect(obstacles).toEqual([expect.stringMatching(/^instance \S+ of 'orders' is running: stop it$/)]);
    expect(message).toContain("'nest' keeps its 3 shards and does not get 2: instance");
    await app.close();
  });

  test('a client is connected', async () => {
    const client = clientFor(3);
    await client.connect();
    await expect(refusal(2)).resolves.toMatchObject({ obstacles: [expect.stringMatching(/^client \S+ is/)] });
    await client.close();
  });

  test('requests wait that no instance has been given', async () => {
    await used();
    for (const shard of [0, 1, 2]) {
      await redis.xadd(`{nest:${shard}}:inbox:orders`, '*', 'pattern', 'ask', 'data', '1');
    }
    const state = await layout.state();
    expect(state.isDrained).toBe(false);
    expect(state.waiting).toEqual(
      [0, 1, 2].map((shard) => ({
        shard,
        service: 'orders',
        pattern: undefined,
        undelivered: 1,
        pending: 0,
      })),
    );
    expect((await refusal(2)).obstacles).toContain(
      "'orders' has not handled 1 requests in shard 2: start an instance, and wait",
    );
  });

  test('something is being handled, or waits for its next delivery', async () => {
    await used();
    for (let i = 0; i < 5; i++) {
      await redis.xadd('{nest:1}:inbox:orders', '*', 'pattern', 'ask', 'data', '1');
    }
    await redis.xgroup('CREATE', '{nest:1}:inbox:orders', 'orders', '0');
    await redis.xreadgroup('GROUP', 'orders', 'a', 'COUNT', 2, 'STREAMS', '{nest:1}:inbox:orders', '>');
    await redis.xreadgroup('GROUP', 'orders', 'a~wait', 'COUNT', 1, 'STREAMS', '{nest:1}:inbox:orders', '>');
    expect((await layout.state()).waiting).toEqual([
      { shard: 1, service: 'orders', pattern: undefined, undelivered: 2, pending: 3 },
    ]);
    await refusal(1);
  });

  test('dead letters lie in a shard that would go; those of others may stay', async () => {
    await used();
    await redis.xadd('{nest:2}:dead:orders', '*', 'pattern', 'a');
    await redis.xadd('{nest:1}:dead:orders', '*', 'pattern', 'a');
    expect((await layout.state()).deadLetters).toHaveLength(2);
    expect((await refusal(2)).obstacles).toEqual([
      "1 dead letters of 'orders' lie in shard 2, which is to go: replay or remove them",
    ]);
    await redis.del('{nest:2}:dead:orders');
    await layout.change({ shards: 2 });
    await expect(redis.xlen('{nest:1}:dead:orders')).resolves.toBe(1);
    await layout.change({ shards: 3 });
  });

  test('messages wait that are to be sent later', async () => {
    await used();
    await redis.zadd('{nest:1}:scheduled', 1, 'a', 2, 'b');
    expect((await layout.state()).isDrained).toBe(false);
    expect((await refusal(2)).obstacles).toEqual(['2 scheduled messages wait in shard 1']);
  });

  test('somebody comes while it looks', async () => {
    await used();
    const refused = refusal(2);
    await eventually(() => redis.hget('{nest:0}:layout', 'changing'), 'the layout to be locked');
    // It had looked at the layout before that.
    await redis.set('{nest:1}:lease:orders:a-1-b', '1', 'PX', 5_000);
    expect((await refused).obstacles).toEqual(["instance a-1-b of 'orders' is running: stop it"]);
    // Who starts while it is locked does not.
    const again = refusal(2);
    await redis.del('{nest:1}:lease:orders:a-1-b');
    await redis.set('{nest:2}:lease:orders:a-2-b', '1', 'PX', 5_000);
    await again;
  });
});

test('nobody starts while it is changed, and one that was interrupted is finished by calling it again', async () => {
  const client = clientFor(3);
  await emit(client, 'told.c', 1);
  await client.close();
  // As it is when the process dies in the middle.
  for (const shard of [0, 1, 2]) {
    await redis.hset(`{nest:${shard}}:layout`, 'shards', 0, 'changing', '3 1 moving');
  }
  for (const shards of [1, 3]) {
    const start = clientFor(shards).connect();
    await expect(start).rejects.toThrow(LayoutMismatchError);
    await expect(start).rejects.toThrow('being changed from 3 to 1');
  }
  await expect(layout.state()).resolves.toMatchObject({ shards: 3, changingTo: 1 });
  expect((await refusal(2)).obstacles).toEqual([
    'a change to 1 was interrupted and has to be finished first: change({ shards: 1 })',
  ]);
  await layout.change({ shards: 1 });
  await expect(layout.state()).resolves.toMatchObject({ shards: 1, changingTo: undefined });
  const orders = new Ledger();
  await orders.start('orders', 1);
  await eventually(() => orders.events.length === 1, 'the event');
});

test('one that was interrupted before anything was moved looks again, and may be another', async () => {
  await used();
  await redis.hset('{nest:0}:layout', 'shards', 0, 'changing', '3 1 checking');
  await redis.zadd('{nest:1}:scheduled', 1, 'a');
  await refusal(2);
  // Who has the old number may start again, since nothing has been moved.
  await expect(redis.hget('{nest:0}:layout', 'changing')).resolves.toBeNull();
  await redis.hset('{nest:0}:layout', 'shards', 0, 'changing', '3 1 checking');
  await redis.del('{nest:1}:scheduled');
  await layout.change({ shards: 2 });
  await expect(layout.state()).resolves.toMatchObject({ shards: 2, changingTo: undefined });
});

test('of two who change it at the same time one does, and one that dies does not keep others from it for long', async () => {
  await used();
  const changes = [1, 2, 4, 5].map((shards) => layout.change({ shards }));
  const outcomes = await Promise.allSettled(changes);
  const refused = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
  expect(refused).toHaveLength(3);
  for (const { reason } of refused) {
    expect(reason).toBeInstanceOf(LayoutChangeRefusedError);
    expect(String(reason)).toContain('another process is changing it');
  }
  const won = [1, 2, 4, 5][outcomes.findIndex(({ status }) => status === 'fulfilled')];
  await expect(layout.state()).resolves.toMatchObject({ shards: won });
  await expect(redis.exists('{nest:0}:layout-lock')).resolves.toBe(0);
  await redis.set('{nest:0}:layout-lock', 'somebody', 'PX', 200);
  await refusal(3);
  await eventually(() => layout.change({ shards: 3 }).then(String, () => undefined), 'the lock to expire');
  await expect(layout.state()).resolves.toMatchObject({ shards: 3 });
});

test('shards that are not used any more tell whoever still uses them to stop', async () => {
  await used();
  await layout.change({ shards: 2 });
  await expect(Promise.all([0, 1, 2].map(shardsIn))).resolves.toEqual(['2', '2', '2']);
  await expect(clientFor(3).connect()).rejects.toThrow('has 2 shards');
  await layout.change({ shards: 3 });
  await expect(Promise.all([0, 1, 2].map(shardsIn))).resolves.toEqual(['3', '3', '3']);
  await clientFor(3).connect();
});

test('who runs with the old number notices at the next look, publishes nothing more, and goes on when it fits again', async () => {
  const client = clientFor(3);
  const orders = new Ledger();
  await orders.start('orders', 3);
  await emit(client, 'told', 1);
  await eventually(() => orders.events.length === 1, 'the event');
  // A look follows each reconnect.
  const look = async (): Promise<unknown> => redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  for (const shard of [0, 1, 2]) {
    await redis.hset(`{nest:${shard}}:layout`, 'shards', 2);
  }
  await look();
  const failure = (pattern: string): Promise<unknown> =>
    emit(client, pattern, 2).then(
      () => undefined,
      (error: unknown) => error,
    );
  await eventually(async () => (await failure('told')) instanceof LayoutMismatchError, 'the mismatch');
  for (const pattern of ['told.a', 'told.c']) {
    await expect(failure(pattern)).resolves.toBeInstanceOf(LayoutMismatchError);
  }
  await expect(firstValueFrom(client.send('ask', 1))).rejects.toThrow(LayoutMismatchError);
  for (const shard of [0, 1, 2]) {
    await redis.hset(`{nest:${shard}}:layout`, 'shards', 3);
  }
  await look();
  await eventually(async () => (await failure('told.c')) === undefined, 'it to fit again');
  await eventually(() => orders.events.some(([pattern]) => pattern === 'told.c'), 'the event');
});

test('a namespace is found by its name alone, whatever that is', async () => {
  const namespace = 'a*[b]?\\';
  for (const name of [namespace, 'axb?\\', 'a']) {
    const client = connect({ connection: server.url, service: 's', namespace: name });
    await emit(client, 'told.c', 1);
    await client.close();
  }
  const own = new RedisStreamsLayout({ connection: server.url, namespace });
  await expect(own.state()).resolves.toMatchObject({
    unclaimed: [{ shard: 0, pattern: 'told.c', entries: 1 }],
  });
  await own.change({ shards: 3 });
  await expect(redis.exists('{axb?\\:0}:topic:told.c', '{a:0}:topic:told.c')).resolves.toBe(2);
});

test('a namespace that nobody has used, and numbers that there are not', async () => {
  await expect(layout.state()).resolves.toMatchObject({ shards: undefined, isDrained: true, waiting: [] });
  await layout.change({ shards: 4 });
  await expect(shardsIn(0)).resolves.toBe('4');
  for (const shards of [0, 1_025, 1.5, '3' as unknown as number]) {
    await expect(layout.change({ shards })).rejects.toThrow(InvalidArgumentError);
  }
  const lost = new RedisStreamsLayout({
    connection: `redis://127.0.0.1:${await freePort()}`,
    connectTimeout: 200,
  });
  await expect(lost.state()).rejects.toThrow(ConnectError);
});

test('a module provides it, and it leaves no connection behind', async () => {
  const module = RedisStreamsModule.forRoot({ connection: server.url, service: 'orders', shards: 3 });
  const app = await NestFactory.createApplicationContext(testModule({ imports: [module] }), {
    logger: false,
  });
  onClose(() => app.close());
  await connect({ connection: server.url, shards: 3 }).connect();
  await expect(app.get(RedisStreamsLayout).state()).resolves.toMatchObject({
    shards: 3,
    clients: [expect.any(String)],
  });
  await closeAll();
  redis = inspect(server.url);
  await eventually(
    async () => !((await redis.client('LIST')) as string).includes('nestjs-redis-streams'),
    'no connection of ours',
  );
});
