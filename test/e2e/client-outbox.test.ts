import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom, take, timeout } from 'rxjs';
import { PublishTimeoutError, QueueFullError, RequestTimeoutError } from '../../lib/index.js';
import type { RedisStreamsClient, RedisStreamsClientOptions } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { entriesOf, heldBy, inspector } from '../support/counting.js';
import { Proxy } from '../support/proxy.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
let proxy: Proxy;

beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  await inspect.flushall();
  proxy = await Proxy.start(redis.port);
});
afterEach(async () => {
  await closeAll();
  await proxy.stop();
});
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  inspect.disconnect();
  await redis.stop();
});

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

/** A client that was connected, and now has lost its Redis. */
async function cutOff(options: RedisStreamsClientOptions = {}): Promise<RedisStreamsClient> {
  const client = connect({ connection: proxy.url, service: 'echo', ...options });
  const lost = deferred();
  client.on('reconnecting', () => lost.resolve());
  await client.connect();
  proxy.refuse();
  await lost.promise;
  return client;
}

function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'it did not fail',
    (error: unknown) => error,
  );
}

test('what is sent while Redis is away waits, and is written once, in order, when Redis is back', async () => {
  const client = await cutOff();
  const events = Array.from({ length: 20 }, (_, i) => lastValueFrom(client.emit('noted', i)));
  const replies = Array.from({ length: 20 }, (_, i) => firstValueFrom(client.send<number>('echo', i)));
  await eventually(() => heldBy(client).queued === 40, 'all in the outbox');
  await expect(inspect.exists('{nest:0}:inbox:echo', '{nest:0}:topic:noted')).resolves.toBe(0);
  proxy.allow();
  await Promise.all(events);
  const numbers = Array.from({ length: 20 }, (_, i) => String(i));
  const datas = async (key: string): Promise<unknown[]> =>
    (await entriesOf(inspect, key)).map(({ data }) => data);
  await expect(datas('{nest:0}:topic:noted')).resolves.toEqual(numbers);
  await expect(datas('{nest:0}:inbox:echo')).resolves.toEqual(numbers);
  expect(heldBy(client)).toEqual({ pending: 20, queued: 0 });
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  await expect(Promise.all(replies)).resolves.toEqual(numbers.map(Number));
});

test('an event that waits longer than its timeout was not published, and says so', async () => {
  const client = await cutOff({ timeout: 100 });
  const error = await failureOf(lastValueFrom(client.emit('noted', 1)));
  expect(error).toBeInstanceOf(PublishTimeoutError);
  expect(error).toMatchObject({ code: 'PUBLISH_TIMEOUT', pattern: 'noted', timeout: 100 });
  expect(heldBy(client).queued).toBe(0);
  proxy.allow();
  // How soon it is connected again is not known.
  const isPublished = (): Promise<boolean> =>
    lastValueFrom(client.emit('noted', 2), { defaultValue: undefined }).then(
      () => true,
      () => false,
    );
  await eventually(isPublished, 'the second event');
  expect((await entriesOf(inspect, '{nest:0}:topic:noted')).map(({ data }) => data)).toEqual(['2']);
});

test('a request that waits longer than its timeout leaves the outbox and is never written', async () => {
  const client = await cutOff({ timeout: 100 });
  const error = await failureOf(firstValueFrom(client.send('echo', 1)));
  expect(error).toBeInstanceOf(RequestTimeoutError);
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
});

test('a request whose caller gives up while Redis is away leaves the outbox at once', async () => {
  const client = await cutOff();
  const early = client.send('echo', 'early').subscribe({ error: () => undefined });
  await failureOf(firstValueFrom(client.send('echo', 'timed').pipe(timeout(50))));
  expect(heldBy(client)).toEqual({ pending: 1, queued: 1 });
  early.unsubscribe();
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
  proxy.allow();
  await lastValueFrom(client.emit('noted', 1));
  await expect(inspect.exists('{nest:0}:inbox:echo')).resolves.toBe(0);
});

test('past maxQueued send() and emit() fail at once, and room that was left is used again', async () => {
  const client = await cutOff({ maxQueued: 3 });
  const waiting = [1, 2, 3].map((n) => lastValueFrom(client.emit('noted', n)));
  await eventually(() => heldBy(client).queued === 3, 'a full outbox');
  const [sent, emitted] = await Promise.all([
    failureOf(firstValueFrom(client.send('echo', 4))),
    failureOf(lastValueFrom(client.emit('noted', 4))),
  ]);
  for (const error of [sent, emitted]) {
    expect(error).toBeInstanceOf(QueueFullError);
    expect(error).toMatchObject({ code: 'QUEUE_FULL', maxQueued: 3 });
  }
  expect(heldBy(client)).toEqual({ pending: 0, queued: 3 });
  // Never inside subscribe(): what it returns is not there yet.
  let isTold = false;
  client.send('echo', 4).subscribe({ error: () => (isTold = true) });
  expect(isTold).toBe(false);
  await eventually(() => isTold, 'the error');
  proxy.allow();
  await Promise.all(waiting);
  expect((await entriesOf(inspect, '{nest:0}:topic:noted')).map(({ data }) => data)).toEqual(['1', '2', '3']);
  await lastValueFrom(client.emit('noted', 5));
});

test('maxQueued bounds nothing while Redis is there', async () => {
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo', maxQueued: 1 });
  await client.connect();
  const replies = Array.from({ length: 100 }, (_, i) => firstValueFrom(client.send<number>('echo', i)));
  await expect(Promise.all(replies)).resolves.toHaveLength(100);
});

test('a request to a service that is down is answered when it comes up', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const reply = firstValueFrom(client.send('echo', 'early'));
  await eventually(async () => (await inspect.xlen('{nest:0}:inbox:echo')) === 1, 'the request in Redis');
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  await expect(reply).resolves.toBe('early');
});

test('1,000 requests that were sent before the server ever started are all answered', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const replies = Array.from({ length: 1_000 }, (_, i) => firstValueFrom(client.send<number>('echo', i)));
  await eventually(async () => (await inspect.xlen('{nest:0}:inbox:echo')) === 1_000, 'all in Redis');
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  await expect(Promise.all(replies)).resolves.toEqual(Array.from({ length: 1_000 }, (_, i) => i));
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
});

test('a request that takes one value of many is dropped at once', async () => {
  const client = await cutOff();
  const subscription = client.send('echo', 1).pipe(take(1)).subscribe();
  await eventually(() => heldBy(client).pending === 1, 'a pending request');
  subscription.unsubscribe();
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
});
