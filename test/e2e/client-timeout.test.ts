import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, Subject, takeUntil, timeout, TimeoutError } from 'rxjs';
import {
  ConfigurationError,
  RedisStreamsRecordBuilder,
  RequestTimeoutError,
  type RedisStreamsContext,
} from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { heldBy, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
beforeAll(async () => {
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(() => inspect.flushall());
afterEach(closeAll);
afterAll(async () => {
  inspect.disconnect();
  await redis.stop();
});

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
  @MessagePattern('headers')
  headers(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): unknown {
    return { data, headers: context.headers, remaining: context.remainingTime };
  }
  @MessagePattern('never')
  async never(): Promise<never> {
    return new Promise(() => undefined);
  }
}

function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'it did not fail',
    (error: unknown) => error,
  );
}

test('a request that nobody answers fails after the timeout option, and names pattern, service and time', async () => {
  const client = connect({ connection: redis.url, service: 'nobody', timeout: 120 });
  await client.connect();
  const before = performance.now();
  const error = await errorOf(firstValueFrom(client.send({ cmd: 'sum' }, [1])));
  expect(performance.now() - before).toBeGreaterThanOrEqual(115);
  expect(error).toBeInstanceOf(RequestTimeoutError);
  expect(error).toMatchObject({
    code: 'REQUEST_TIMEOUT',
    pattern: '{"cmd":"sum"}',
    service: 'nobody',
    timeout: 120,
  });
  expect((error as Error).message).toMatch(/'\{"cmd":"sum"\}' from service 'nobody' within 120 ms/);
});

test('a record sets the timeout of its own request only', async () => {
  const client = connect({ connection: redis.url, service: 'nobody', timeout: 10_000 });
  const other = client.send('echo', 1).subscribe({ error: () => undefined });
  const record = new RedisStreamsRecordBuilder([1]).setTimeout(80).build();
  await expect(errorOf(firstValueFrom(client.send('echo', record)))).resolves.toMatchObject({
    code: 'REQUEST_TIMEOUT',
    timeout: 80,
  });
  expect(heldBy(client).pending).toBe(1);
  other.unsubscribe();
});

test("a record's data and headers arrive, and its timeout is the handler's deadline", async () => {
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo' });
  const record = new RedisStreamsRecordBuilder()
    .setData({ n: 1 })
    .setHeaders({ tenant: 'a', 'trace-id': 'ü✓' })
    .setTimeout(5_000)
    .build();
  const got = await firstValueFrom(
    client.send<{ data: unknown; headers: unknown; remaining: number }>('headers', record),
  );
  expect(got).toMatchObject({ data: { n: 1 }, headers: { tenant: 'a', 'trace-id': 'ü✓' } });
  expect(got.remaining).toBeGreaterThan(2_000);
  expect(got.remaining).toBeLessThanOrEqual(5_000);
});

test.each([[null], ['text'], [{ n: 1 }], [['a']], [{ nested: {} }]])(
  'headers of %j are refused by the builder',
  (headers) => {
    const builder = new RedisStreamsRecordBuilder(1);
    expect(() => builder.setHeaders(headers as never)).toThrow(ConfigurationError);
    expect(() => builder.setHeaders(headers as never)).toThrow(/headers.*strings/);
  },
);

test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '5', 2 ** 31])(
  'a timeout of %p is refused by the builder',
  (value) => {
    const builder = new RedisStreamsRecordBuilder(1);
    expect(() => builder.setTimeout(value as number)).toThrow(ConfigurationError);
    expect(() => builder.setTimeout(value as number)).toThrow(/timeout must be a whole number from 1 to/);
  },
);

test('unsubscribing drops the pending request at once: by hand, by timeout() and by takeUntil()', async () => {
  await serve({ connection: redis.url, service: 'echo', shutdownTimeout: 0 }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo' });
  await client.connect();
  const stop = new Subject<void>();
  const byHand = client.send('never', 1).subscribe();
  client.send('never', 1).pipe(takeUntil(stop)).subscribe();
  const timed = errorOf(firstValueFrom(client.send('never', 1).pipe(timeout(50))));
  await eventually(() => heldBy(client).pending === 3, 'three pending requests');
  await expect(timed).resolves.toBeInstanceOf(TimeoutError);
  expect(heldBy(client).pending).toBe(2);
  byHand.unsubscribe();
  expect(heldBy(client).pending).toBe(1);
  stop.next();
  expect(heldBy(client).pending).toBe(0);
  await expect(firstValueFrom(client.send('echo', 'still works'))).resolves.toBe('still works');
});

test('10,000 requests of which a third time out and a third are unsubscribed leave nothing behind', async () => {
  await serve(
    { connection: redis.url, service: 'echo', concurrency: 20_000, shutdownTimeout: 0 },
    EchoController,
  );
  const client = connect({ connection: redis.url, service: 'echo', timeout: 15_000 });
  await firstValueFrom(client.send('echo', 0));
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const listeners = (): number[] => {
    const connection = client.unwrap();
    return ['ready', 'close', 'error', 'end'].map((name) => connection.listenerCount(name));
  };
  const before = { listeners: listeners(), timers: timers() };
  const impatient = new RedisStreamsRecordBuilder(1).setTimeout(300).build();
  const work: Promise<unknown>[] = [];
  const leave = new Subject<void>();
  let left = 0;
  for (let i = 0; i < 10_000; i++) {
    if (i % 3 === 0) {
      work.push(firstValueFrom(client.send('echo', i)));
    } else if (i % 3 === 1) {
      work.push(errorOf(firstValueFrom(client.send('never', impatient))));
    } else {
      client
        .send('never', i)
        .pipe(takeUntil(leave))
        .subscribe({ complete: () => left++ });
    }
  }
  await eventually(() => heldBy(client).pending === 10_000, 'all requests pending');
  expect(timers()).toBeGreaterThan(10_000);
  leave.next();
  const results = await Promise.all(work);
  expect(left).toBe(3_333);
  expect(results.filter((result) => result instanceof RequestTimeoutError)).toHaveLength(3_333);
  expect(results.filter((result) => typeof result === 'number')).toHaveLength(3_334);
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
  expect(listeners()).toEqual(before.listeners);
  // Those for what was read are gone shortly after.
  await eventually(() => timers() <= before.timers, 'no more timers than before');
});
