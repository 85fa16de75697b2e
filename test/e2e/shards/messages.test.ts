import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, interval, lastValueFrom, map, NEVER, range, toArray, type Observable } from 'rxjs';
import {
  RedisStreamsContext,
  RequestTimeoutError,
  type RedisStreamsClient,
  type RedisStreamsServer,
} from '../../../lib/index.js';
import { shardOf } from '../../../lib/redis/sharding.js';
import { closeAll, connect, inspect, serve } from '../../support/app.js';
import { expectRoles, heldBy } from '../../support/counting.js';
import { reportsOf } from '../../support/retention.js';
import { RedisServer } from '../../support/redis-server.js';
import { topicKey } from '../../support/shards.js';
import { eventually } from '../../support/wait.js';

const SHARDS = 3;
/** One of each shard. */
const PATTERNS = ['told.c', 'told', 'told.a'];
/** They fail as often as their data says. */
const FAILING = ['failing.a', 'failing.b', 'failing.c'];

let redis: RedisServer;
let look: Redis;
const handled: [pattern: string, data: unknown, delivery: number][] = [];
let aborted: unknown[];
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
  handled.length = 0;
  aborted = [];
});
afterEach(closeAll);
afterAll(() => redis.stop());

@Controller()
class ShardedController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
  /** In which stream it lay. */
  @MessagePattern('where')
  where(@Ctx() { stream }: RedisStreamsContext): string {
    return stream;
  }
  @MessagePattern('count')
  count(@Payload() to: number): Observable<number> {
    return range(0, to);
  }
  @MessagePattern('never')
  never(@Ctx() { signal }: RedisStreamsContext): Observable<never> {
    signal.addEventListener('abort', () => aborted.push(signal.reason));
    return NEVER;
  }
  @MessagePattern('ticks')
  ticks(@Ctx() { signal }: RedisStreamsContext): Observable<number> {
    signal.addEventListener('abort', () => aborted.push(signal.reason));
    return interval(5).pipe(map((n) => n));
  }
  @EventPattern<string[]>(PATTERNS)
  on(@Payload() data: unknown, @Ctx() { pattern, deliveryCount }: RedisStreamsContext): void {
    handled.push([pattern, data, deliveryCount]);
  }
  @EventPattern<string[]>(FAILING)
  onFailing(@Payload() failures: number, @Ctx() { pattern, deliveryCount }: RedisStreamsContext): void {
    if (deliveryCount <= failures) {
      throw new Error(`${pattern} fails at delivery ${deliveryCount}`);
    }
    handled.push([pattern, failures, deliveryCount]);
  }
}

interface Pair {
  client: RedisStreamsClient;
  server: RedisStreamsServer;
}

async function pair(timeout = 5_000): Promise<Pair> {
  const options = { connection: redis.url, service: 'sharded', shards: SHARDS };
  const retry = { maxDeliveries: 3, backoff: { type: 'fixed', delay: 50 } } as const;
  const { server } = await serve({ ...options, retry, lease: 2_000 }, ShardedController);
  return { client: connect({ ...options, timeout }), server };
}

const key = (shard: number, name: string): string => `{nest:${shard}}:${name}`;
const inbox = (shard: number): string => key(shard, 'inbox:sharded');
const everyShard = [0, 1, 2];

/** Waits until no message is left anywhere. */
async function expectNothingLeft(): Promise<void> {
  const topics = [...PATTERNS, ...FAILING].map((pattern) => topicKey(pattern, 'nest', SHARDS));
  for (const stream of [...everyShard.map(inbox), ...topics]) {
    await eventually(async () => (await look.xlen(stream)) === 0, `${stream} to be empty`);
    await expect(look.xpending(stream, 'sharded')).resolves.toEqual([0, null, null, null]);
  }
}

test('requests go to all shards by turns, those of a turn to one, and are all answered', async () => {
  const { client } = await pair();
  const where = (): Promise<string> => firstValueFrom(client.send<string>('where', {}));
  const one = [await where(), await where(), await where()];
  expect([...one].sort()).toEqual(everyShard.map(inbox));
  const together = await Promise.all(Array.from({ length: 50 }, where));
  expect(new Set(together).size).toBe(1);
  const numbers = Array.from({ length: 300 }, (_, i) => i);
  const echoed = await Promise.all(
    numbers.map(async (n) => {
      // Some in a turn, and many turns.
      for (let i = 0; i < n % 10; i++) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      return firstValueFrom(client.send<number>('echo', n));
    }),
  );
  expect(echoed).toEqual(numbers);
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
  await expectNothingLeft();
});

test('an event lies in the shard of its pattern, whoever publishes it, and nothing is left of it', async () => {
  expect(PATTERNS.map((pattern) => shardOf(pattern, SHARDS))).toEqual(everyShard);
  const { client } = await pair();
  const before = connect({ connection: redis.url, shards: SHARDS });
  for (const [shard, pattern] of PATTERNS.entries()) {
    await lastValueFrom(client.emit(pattern, shard), { defaultValue: undefined });
    await lastValueFrom(before.emit(pattern, shard + 10), { defaultValue: undefined });
    await expect(look.smembers(key(shard, 'topics'))).resolves.toEqual([pattern]);
    await expect(look.exists(key(shard, `topic:${pattern}`))).resolves.toBe(1);
  }
  await eventually(() => handled.length === 6, 'all events');
  expect(handled.sort()).toEqual(
    PATTERNS.flatMap((p, i) => [
      [p, i, 1],
      [p, i + 10, 1],
    ]).sort(),
  );
  await expectNothingLeft();
});

test('values of one answer come in order, from every shard', async () => {
  const { client } = await pair();
  for (let i = 0; i < SHARDS; i++) {
    const values = await lastValueFrom(client.send<number>('count', 500).pipe(toArray()));
    expect(values).toEqual(Array.from({ length: 500 }, (_, n) => n));
  }
  await expectNothingLeft();
});

test('a request that is left is stopped, in whichever shard it lies, delivered or not', async () => {
  const { client } = await pair();
  for (let i = 0; i < SHARDS; i++) {
    let values = 0;
    const subscription = client.send<number>('ticks', {}).subscribe(() => values++);
    await eventually(() => values > 2, 'some values');
    subscription.unsubscribe();
    await eventually(() => aborted.length === i + 1, 'the handler to be stopped');
  }
  expect(aborted).toMatchObject(everyShard.map(() => ({ code: 'REQUEST_CANCELLED' })));
  await expectNothingLeft();
  await closeAll();
  // Nobody is there who could be given it.
  look = inspect(redis.url);
  const alone = connect({ connection: redis.url, service: 'sharded', shards: SHARDS });
  await alone.connect();
  for (const [i] of everyShard.entries()) {
    const waiting = alone.send('echo', i).subscribe();
    const written = async (): Promise<number> =>
      (await Promise.all(everyShard.map((shard) => look.xlen(inbox(shard))))).reduce((a, b) => a + b);
    await eventually(async () => (await written()) === 1, 'the request to be written');
    waiting.unsubscribe();
    await eventually(async () => (await written()) === 0, 'the request to be deleted');
  }
});

test('a request that takes too long times out, and its handler is stopped', async () => {
  const { client } = await pair();
  const impatient = connect({ connection: redis.url, service: 'sharded', shards: SHARDS, timeout: 200 });
  await client.connect();
  for (let i = 0; i < SHARDS; i++) {
    await expect(firstValueFrom(impatient.send('never', {}))).rejects.toThrow(RequestTimeoutError);
  }
  await eventually(() => aborted.length === SHARDS, 'the handlers to be stopped');
  expect(aborted).toMatchObject(everyShard.map(() => ({ code: 'DEADLINE_EXCEEDED' })));
  await expectNothingLeft();
});

test('an event that fails is delivered again in its shard, and is a dead letter there in the end', async () => {
  const { client, server } = await pair();
  const letters = reportsOf(server, 'deadLettered');
  for (const pattern of FAILING) {
    client.emit(pattern, 1);
    client.emit(pattern, 99);
  }
  await eventually(() => handled.length === 3 && letters.length === 3, 'all to be settled');
  expect(handled.sort()).toEqual(FAILING.map((pattern) => [pattern, 1, 2]));
  for (const { pattern, deadLetterId, deliveries } of letters) {
    const shard = shardOf(pattern, SHARDS);
    const [entry, at] = deadLetterId.split('@');
    expect({ at, deliveries }).toEqual({ at: String(shard), deliveries: 3 });
    await expect(look.xrange(key(shard, 'dead:sharded'), entry!, entry!)).resolves.toHaveLength(1);
  }
  await expectNothingLeft();
});

test('one Redis has one connection of each kind, whatever the number of shards', async () => {
  await pair();
  await expectRoles(look, 'commands', 'control', 'inbox', 'topics');
});

test('FLUSHALL: all shards are set up again, and nothing that comes later is lost', async () => {
  // The client finds within BLOCK that its reply stream is gone, and the server writes its replies once more after that.
  const { client, server } = await pair(15_000);
  await firstValueFrom(client.send('echo', 0));
  const made = reportsOf(server, 'groupMade');
  await look.flushall();
  for (const [i, pattern] of PATTERNS.entries()) {
    await lastValueFrom(client.emit(pattern, i), { defaultValue: undefined });
  }
  const answers = everyShard.map((n) => firstValueFrom(client.send<number>('echo', n)));
  await expect(Promise.all(answers)).resolves.toEqual(everyShard);
  await eventually(() => handled.length === 3, 'the events');
  // All inboxes, also those that had nothing to give.
  await eventually(
    () => everyShard.every((shard) => made.some(({ stream }) => stream === inbox(shard))),
    'the groups of all inboxes',
  );
  for (const shard of everyShard) {
    await expect(look.hkeys(key(shard, 'subscriptions'))).resolves.toContain(`sharded ${PATTERNS[shard]}`);
  }
  await expectNothingLeft();
});
