import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { NEVER, firstValueFrom, type Observable } from 'rxjs';
import { ConnectionClosedError, RedisStreamsContext, RedisStreamsServer } from '../../lib/index.js';
import { closeAll, connect, inspect, Lines, onClose, serve, serveModule } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

const INBOX = '{nest:0}:inbox:closing';

let started = deferred();
let release = deferred();
let reason: unknown;
const handled: number[] = [];

@Controller()
class ClosingController {
  @MessagePattern('held')
  async held(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): Promise<unknown> {
    context.signal.addEventListener('abort', () => {
      reason = context.signal.reason;
    });
    started.resolve();
    await release.promise;
    return data;
  }
  @MessagePattern('endless')
  endless(): Observable<never> {
    started.resolve();
    return NEVER;
  }
  @MessagePattern('number')
  async number(@Payload() data: number): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, data % 5));
    handled.push(data);
    return data;
  }
  @EventPattern<string>('held-event')
  async heldEvent(@Payload() _: unknown, @Ctx() { signal }: RedisStreamsContext): Promise<void> {
    started.resolve();
    await Promise.race([
      release.promise,
      new Promise((resolve) => signal.addEventListener('abort', resolve)),
    ]);
  }
}

let redis: RedisServer;
let look: Redis;
let options: { connection: string; service: string };
beforeAll(async () => {
  redis = await RedisServer.start();
  options = { connection: redis.url, service: 'closing' };
});
beforeEach(async () => {
  started = deferred();
  release = deferred();
  reason = undefined;
  handled.length = 0;
  look = inspect(redis.url);
  await look.flushall();
});
afterEach(async () => {
  release.resolve();
  await closeAll();
});
afterAll(() => redis.stop());

const pending = async (stream = INBOX): Promise<number> =>
  ((await look.xpending(stream, 'closing')) as [number])[0];

/** The connections of this package at the Redis. */
async function connections(): Promise<string[]> {
  const list = (await look.client('LIST')) as string;
  return [...list.matchAll(/name=nestjs-redis-streams:(\w+)/g)].map(([, role]) => role!);
}

test('close() before listen(), twice, and with a signal’s name, resolves', async () => {
  const server = new RedisStreamsServer(options);
  await server.close();
  await (server.close as (signal: string) => Promise<void>)('SIGTERM');
  await expect(connections()).resolves.toEqual([]);
});

test('close() closes every connection it opened, and may be called again, at once and later', async () => {
  const { server } = await serve(options, ClosingController);
  expect((await connections()).sort()).toEqual(['commands', 'control', 'inbox', 'topics']);
  await Promise.all([server.close(), server.close()]);
  await server.close();
  await eventually(async () => (await connections()).length === 0, 'all connections to be closed');
});

test('a service without event handlers has no connection for topics', async () => {
  @Controller()
  class RequestsOnlyController {
    @MessagePattern('ask')
    ask(): void {
      return;
    }
  }
  await serve(options, RequestsOnlyController);
  expect((await connections()).sort()).toEqual(['commands', 'control', 'inbox']);
});

test('an idle server closes within a fraction of BLOCK', async () => {
  const { server } = await serve(options, ClosingController);
  const since = performance.now();
  await server.close();
  expect(performance.now() - since).toBeLessThan(1_500);
});

test('a server that was closed may listen again, and handles what came meanwhile', async () => {
  const { server } = await serve(options, ClosingController);
  await server.close();
  const answer = firstValueFrom(connect(options).send('number', 5));
  await eventually(async () => (await look.xlen(INBOX)) === 1, 'the request to be stored');
  onClose(() => server.close());
  await new Promise<void>((resolve, reject) =>
    server.listen((error) => (error === undefined ? resolve() : reject(error))),
  );
  await expect(answer).resolves.toBe(5);
});

test('close() while listen() is under way leaves nothing open', async () => {
  const server = new RedisStreamsServer(options);
  const listened = new Promise<unknown>((resolve) => server.listen(resolve));
  await server.close();
  await listened;
  await server.close();
  await eventually(async () => (await connections()).length === 0, 'all connections to be closed');
});

test('close() waits for a running handler, whose reply arrives and whose request is settled', async () => {
  const { app } = await serve(options, ClosingController);
  const client = connect(options);
  const answer = firstValueFrom(client.send('held', 'kept'));
  await started.promise;
  let isClosed = false;
  const closed = app.close().then(() => void (isClosed = true));
  await eventually(async () => !(await connections()).includes('inbox'), 'reading to have stopped');
  // The handler holds up the end, and what comes now is not taken any more.
  const next = firstValueFrom(client.send('number', 1));
  await eventually(async () => (await look.xlen(INBOX)) === 2, 'the next request to be stored');
  expect(isClosed).toBe(false);
  expect(handled).toEqual([]);
  release.resolve();
  await expect(answer).resolves.toBe('kept');
  await closed;
  await expect(pending()).resolves.toBe(0);
  // The other one waits for the next instance.
  await expect(look.xlen(INBOX)).resolves.toBe(1);
  await serve(options, ClosingController);
  await expect(next).resolves.toBe(1);
});

test('close() waits for a running event handler, and acknowledges its event', async () => {
  const { app } = await serve(options, ClosingController);
  connect(options).emit('held-event', {});
  await started.promise;
  const closed = app.close();
  await eventually(async () => !(await connections()).includes('topics'), 'reading to have stopped');
  await expect(pending('{nest:0}:topic:held-event')).resolves.toBe(1);
  release.resolve();
  await closed;
  await expect(pending('{nest:0}:topic:held-event')).resolves.toBe(0);
});

test('close() gives up after shutdownTimeout: the request stays pending, and its signal aborts', async () => {
  const { app } = await serve({ ...options, shutdownTimeout: 200 }, ClosingController);
  const client = connect({ ...options, timeout: 2_000 });
  let answer: unknown;
  client
    .send('held', 'never')
    .subscribe({ next: (value: unknown) => (answer = value), error: () => undefined });
  await started.promise;
  const since = performance.now();
  await app.close();
  expect(performance.now() - since).toBeGreaterThanOrEqual(190);
  expect(performance.now() - since).toBeLessThan(2_000);
  expect(reason).toBeInstanceOf(ConnectionClosedError);
  release.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  await expect(pending()).resolves.toBe(1);
  await expect(look.xlen(INBOX)).resolves.toBe(1);
  expect(answer).toBeUndefined();
});

test('close() ends a stream that never ends, and its request stays pending', async () => {
  const { app } = await serve({ ...options, shutdownTimeout: 100 }, ClosingController);
  connect(options)
    .send('endless', {})
    .subscribe({ error: () => undefined });
  await started.promise;
  await app.close();
  await expect(pending()).resolves.toBe(1);
});

test('an event that still runs at the end stays pending, though its handler ends when it is told to', async () => {
  const { app } = await serve({ ...options, shutdownTimeout: 100 }, ClosingController);
  connect(options).emit('held-event', {});
  await started.promise;
  await app.close();
  await expect(pending('{nest:0}:topic:held-event')).resolves.toBe(1);
});

test('closing under load loses nothing: every request is answered, or still in the inbox', async () => {
  const client = connect({ ...options, timeout: 60_000 });
  const answered = new Set<number>();
  let sent = 0;
  let isOver = false;
  const publishing = (async () => {
    while (!isOver) {
      for (let i = 0; i < 20; i++) {
        const number = sent++;
        client.send<number>('number', number).subscribe({
          next: (value) => answered.add(value),
          error: () => undefined,
        });
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 4; round++) {
    const { app } = await serve({ ...options, concurrency: 16 }, ClosingController);
    const before = handled.length;
    await eventually(() => handled.length > before + 50, 'some requests to be handled');
    await app.close();
    // Nothing of a closed instance is left behind: what it took it has answered.
    await expect(pending()).resolves.toBe(0);
  }
  isOver = true;
  await publishing;
  await eventually(
    async () => answered.size + (await look.xlen(INBOX)) === sent,
    'every request to be accounted for',
  );
  await serve(options, ClosingController);
  await eventually(() => answered.size === sent, 'every request to be answered', 15_000);
  expect(handled).toHaveLength(sent);
});

test('without the right to CLIENT UNBLOCK, close() ends when the read does', async () => {
  await look.acl('SETUSER', 'plain', 'on', '>secret', '~*', '&*', '+@all', '-client|unblock', '-client|id');
  const connection = { port: redis.port, host: '127.0.0.1', username: 'plain', password: 'secret' };
  const lines = new Lines();
  const { app } = await serveModule(
    { connection, service: 'closing' },
    { controllers: [ClosingController] },
    { logger: lines },
  );
  await expect(firstValueFrom(connect(options).send('number', 5))).resolves.toBe(5);
  const since = performance.now();
  await app.close();
  expect(performance.now() - since).toBeLessThan(7_500);
  await eventually(
    async () => (await connections()).every((role) => role !== 'inbox'),
    'the reader to be gone',
  );
});

test('an application whose Redis is dead closes within its bounds', async () => {
  const mortal = await RedisServer.start();
  try {
    const { app } = await serve(
      { connection: mortal.url, service: 'closing', shutdownTimeout: 300 },
      ClosingController,
    );
    connect({ connection: mortal.url, service: 'closing' })
      .send('held', 1)
      .subscribe({ error: () => undefined });
    await started.promise;
    await mortal.kill();
    const since = performance.now();
    await app.close();
    expect(performance.now() - since).toBeLessThan(3_000);
  } finally {
    await mortal.stop();
  }
});

test('an application whose Redis hangs closes within its bounds', async () => {
  const mortal = await RedisServer.start();
  try {
    const { app } = await serve(
      { connection: mortal.url, service: 'closing', shutdownTimeout: 300 },
      ClosingController,
    );
    process.kill(mortal.pid, 'SIGSTOP');
    const since = performance.now();
    await app.close();
    // BLOCK and grace for the read that nobody ends, then the handlers, then the flush.
    expect(performance.now() - since).toBeLessThan(10_500);
  } finally {
    await mortal.stop();
  }
});
