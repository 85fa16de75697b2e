import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { ConnectionClosedError } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { expectRoles, heldBy, inspector, routed } from '../support/counting.js';
import { Proxy } from '../support/proxy.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(() => inspect.flushall());
afterEach(closeAll);
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

function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'it did not fail',
    (error: unknown) => error,
  );
}

test('close() fails what is pending with "Connection closed" and leaves no connection', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const pending = [1, 2, 3].map((n) => errorOf(firstValueFrom(client.send('echo', n))));
  await eventually(() => heldBy(client).pending === 3, 'three pending requests');
  await client.close();
  for (const error of await Promise.all(pending)) {
    expect(error).toBeInstanceOf(ConnectionClosedError);
    expect(error).toMatchObject({ code: 'CONNECTION_CLOSED', message: 'Connection closed' });
  }
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
  await expectRoles(inspect);
});

test('close() fails every pending request once, in the order in which they were sent', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const closed: number[] = [];
  for (const n of [1, 2, 3]) {
    client.send('echo', n).subscribe({ error: () => closed.push(n) });
  }
  await eventually(() => heldBy(client).pending === 3, 'three pending requests');
  await client.close();
  expect(closed).toEqual([1, 2, 3]);
});

test('close() may be called before connect(), twice, at once, and with the signal that Nest gives it', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  await expect(client.close()).resolves.toBeUndefined();
  await client.connect();
  // ClientsModule calls it as a shutdown hook, with one argument.
  const hook = client as unknown as { close(signal?: string): Promise<void> };
  await Promise.all([hook.close('SIGTERM'), hook.close(undefined)]);
  await hook.close('SIGTERM');
  await expectRoles(inspect);
});

test('close() while it connects leaves no connection', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const connecting = errorOf(client.connect());
  await client.close();
  await connecting;
  await expectRoles(inspect);
});

test('a client can be used again after close()', async () => {
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo' });
  for (const n of [1, 2, 3]) {
    await expect(firstValueFrom(client.send('echo', n))).resolves.toBe(n);
    await lastValueFrom(client.emit('noted', n));
    await client.close();
    await expectRoles(inspect, 'commands', 'control', 'inbox');
  }
  await expect(inspect.xlen('{nest:0}:topic:noted')).resolves.toBe(3);
});

test('events that were emitted just before close() are stored', async () => {
  const client = connect({ connection: redis.url });
  await client.connect();
  for (let i = 0; i < 100; i++) {
    client.emit('noted', i);
  }
  await client.close();
  await expect(inspect.xlen('{nest:0}:topic:noted')).resolves.toBe(100);
});

test('an event that was emitted before the client had connected is stored too', async () => {
  const client = connect({ connection: redis.url });
  client.emit('noted', 1);
  await client.close();
  await expect(inspect.xlen('{nest:0}:topic:noted')).resolves.toBe(1);
  await expectRoles(inspect);
});

test('close() with a dead Redis resolves within its grace, and fails what waits', async () => {
  const proxy = await Proxy.start(redis.port);
  try {
    const client = connect({ connection: proxy.url, service: 'echo' });
    const lost = deferred();
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    client.on('reconnecting', () => lost.resolve());
    await client.connect();
    proxy.refuse();
    await lost.promise;
    const event = errorOf(lastValueFrom(client.emit('noted', 1)));
    const request = errorOf(firstValueFrom(client.send('echo', 1)));
    await eventually(() => heldBy(client).queued === 2, 'both in the outbox');
    const closing = performance.now();
    await client.close();
    expect(performance.now() - closing).toBeLessThan(3_500);
    await expect(event).resolves.toMatchObject({ code: 'CONNECTION_CLOSED' });
    await expect(request).resolves.toMatchObject({ code: 'CONNECTION_CLOSED' });
    expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
    // It does not wait to connect again.
    await eventually(() => timers() <= before, 'no timer more than before');
    expect(proxy.open).toBe(0);
  } finally {
    await proxy.stop();
  }
});

test('close() with a Redis that answers nothing any more resolves within its grace', async () => {
  const proxy = await Proxy.start(redis.port);
  try {
    const client = connect({ connection: routed(['commands'], proxy.port, redis.port), service: 'echo' });
    await client.connect();
    proxy.freeze();
    const event = errorOf(lastValueFrom(client.emit('noted', 1)));
    const before = performance.now();
    await client.close();
    expect(performance.now() - before).toBeLessThan(3_500);
    // Written and never confirmed, or never written: it may not be said to have been stored.
    await expect(event).resolves.toBeInstanceOf(Error);
  } finally {
    await proxy.stop();
  }
});

test('a hundred clients that were opened, used and closed leave no connection, timer or listener', async () => {
  const resources = (): string =>
    process
      .getActiveResourcesInfo()
      .filter((name) => name === 'Timeout' || name === 'TCPSocketWrap' || name === 'Immediate')
      .sort()
      .join();
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  await expectRoles(inspect, 'commands', 'control', 'inbox');
  const before = resources();
  for (let round = 0; round < 10; round++) {
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const client = connect({ connection: redis.url, service: 'echo' });
        await firstValueFrom(client.send('echo', 1));
        await lastValueFrom(client.emit('noted', 1));
        await client.close();
      }),
    );
  }
  await expectRoles(inspect, 'commands', 'control', 'inbox');
  await eventually(() => resources().length <= before.length, 'no more resources than before');
});
