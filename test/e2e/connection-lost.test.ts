import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom, tap } from 'rxjs';
import { OutcomeUnknownError } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { entriesOf, heldBy, inspector, routed } from '../support/counting.js';
import { Proxy } from '../support/proxy.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually, type Deferred } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
let proxy: Proxy;
let started: Deferred;
let release: Deferred<string>;

beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  proxy = await Proxy.start(redis.port);
  started = deferred();
  release = deferred();
  await inspect.flushall();
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
class WorkController {
  @MessagePattern('slow')
  async slow(): Promise<string> {
    started.resolve();
    return release.promise;
  }
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

/** How many replies lie in the stream of the one client there is. */
async function repliesStored(): Promise<number> {
  const [key] = await inspect.keys('nest:replies:*');
  return key === undefined ? 0 : inspect.xlen(key);
}

test('a pending request outlives an outage of its client: the reply that was written meanwhile arrives', async () => {
  await serve({ connection: redis.url, service: 'work' }, WorkController);
  const client = connect({ connection: proxy.url, service: 'work' });
  const reply = firstValueFrom(client.send<string>('slow', {}));
  await started.promise;
  proxy.refuse();
  expect(heldBy(client).pending).toBe(1);
  release.resolve('done');
  await eventually(async () => (await repliesStored()) === 1, 'the reply in the stream');
  expect(heldBy(client).pending).toBe(1);
  proxy.allow();
  await expect(reply).resolves.toBe('done');
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
});

test('however often the connection for replies is cut, no reply is lost and none comes twice', async () => {
  await serve({ connection: redis.url, service: 'work' }, WorkController);
  const client = connect({ connection: routed(['replies'], proxy.port, redis.port), service: 'work' });
  await client.connect();
  const values: number[] = [];
  const replies: Promise<void>[] = [];
  for (let round = 0; round < 5; round++) {
    const batch = Array.from({ length: 50 }, (_, i) =>
      lastValueFrom(client.send<number>('echo', round * 50 + i).pipe(tap((value) => values.push(value)))),
    );
    replies.push(...batch.map((reply) => reply.then(() => undefined)));
    // Some are answered, some replies are on their way.
    await Promise.race(batch);
    proxy.cut();
    await eventually(() => proxy.open === 1, 'the connection again');
  }
  await Promise.all(replies);
  expect(values.sort((a, b) => a - b)).toEqual(Array.from({ length: 250 }, (_, i) => i));
});

test('a request whose XADD went unanswered stays pending until its reply; an event is an OutcomeUnknownError', async () => {
  const client = connect({
    connection: routed(['commands'], proxy.port, redis.port),
    service: 'work',
  });
  await client.connect();
  await lastValueFrom(client.emit('noted', 'before'));
  // The very next byte of an answer is not passed on: what is written now arrives, and is never confirmed.
  proxy.cutAfter('to-client', 0);
  const event = lastValueFrom(client.emit('noted', 'unconfirmed')).catch((error: unknown) => error);
  const reply = firstValueFrom(client.send<string>('echo', 'hello'));
  const error: unknown = await event;
  expect(error).toBeInstanceOf(OutcomeUnknownError);
  expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN', pattern: 'noted' });
  expect(heldBy(client).pending).toBe(1);
  const stored = await entriesOf(inspect, '{nest:0}:topic:noted');
  expect(stored.map(({ data }) => data)).toEqual(['"before"', '"unconfirmed"']);
  await expect(inspect.xlen('{nest:0}:inbox:work')).resolves.toBe(1);
  await serve({ connection: redis.url, service: 'work' }, WorkController);
  await expect(reply).resolves.toBe('hello');
});

test('after FLUSHALL under a connected client and server, later requests and events work', async () => {
  await serve({ connection: redis.url, service: 'work' }, WorkController);
  const client = connect({ connection: redis.url, service: 'work', timeout: 18_000 });
  await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(1);
  await inspect.flushall();
  await expect(firstValueFrom(client.send('echo', 2))).resolves.toBe(2);
  await expect(firstValueFrom(client.send('echo', 3))).resolves.toBe(3);
  await lastValueFrom(client.emit('noted', 1));
  await expect(inspect.xlen('{nest:0}:topic:noted')).resolves.toBe(1);
});

test('replies are read whose ids lie below those that were read before the stream was lost', async () => {
  await serve({ connection: redis.url, service: 'work' }, WorkController);
  const client = connect({ connection: redis.url, service: 'work', timeout: 18_000 });
  await client.connect();
  const [key] = await inspect.keys('nest:replies:*');
  // As a Redis whose clock was ahead would have numbered it. It is trimmed away once it has been read.
  await inspect.xadd(key!, '9999999999999-0', 'vnobody', '1');
  await eventually(async () => (await inspect.xlen(key!)) === 0, 'the entry read');
  await inspect.del(key!);
  await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(1);
});

test('a Redis that was restarted empty is set up again before anything is written', async () => {
  const own = await RedisServer.start();
  try {
    await serve({ connection: own.url, service: 'work' }, WorkController);
    const client = connect({ connection: own.url, service: 'work' });
    await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(1);
    await lastValueFrom(client.emit('noted', 1));
    await own.kill();
    await own.start();
    await expect(firstValueFrom(client.send('echo', 2))).resolves.toBe(2);
    await lastValueFrom(client.emit('noted', 2));
    const look = inspector(own.url);
    await expect(look.smembers('{nest:0}:topics')).resolves.toEqual(['noted']);
    await expect(look.hget('{nest:0}:layout', 'format')).resolves.toBe('1');
    look.disconnect();
    await closeAll();
  } finally {
    await own.stop();
  }
});
