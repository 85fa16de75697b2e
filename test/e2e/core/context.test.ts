import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { hostname } from 'node:os';
import {
  DeadlineExceededError,
  RedisStreamsContext,
  RedisStreamsRecordBuilder,
  RequestTimeoutError,
} from '../../../lib/index.js';
import { closeAll, connect, inspect, serve } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { inboxLike, topicKey } from '../../support/shards.js';
import { deferred, eventually } from '../../support/wait.js';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterEach(closeAll);
afterAll(() => redis.stop());

/** What a handler saw of its context, while it ran. */
function snapshot(context: RedisStreamsContext) {
  const { pattern, requestId, headers, entryId, stream, publishedAt, deadline } = context;
  const { remainingTime, service, instance, deliveryCount } = context;
  return {
    ...{ pattern, requestId, headers, entryId, stream, publishedAt, deadline },
    ...{ remainingTime, service, instance, deliveryCount },
    aborted: context.signal.aborted,
    metadata: context.getMetadata(),
  };
}

let seen = deferred<ReturnType<typeof snapshot>>();

@Controller()
class ContextController {
  @MessagePattern({ cmd: 'look' })
  look(@Ctx() context: RedisStreamsContext): string {
    seen.resolve(snapshot(context));
    return 'looked';
  }
  @EventPattern('looked')
  on(@Ctx() context: RedisStreamsContext): void {
    seen.resolve(snapshot(context));
  }
}

test('a request’s context tells everything of it', async () => {
  seen = deferred();
  const options = { connection: redis.url, service: 'context', namespace: 'ctx' };
  await serve(options, ContextController);
  const [seconds] = await inspect(redis.url).time();
  const record = new RedisStreamsRecordBuilder({ a: 1 })
    .setHeaders({ tenant: 'acme', lang: 'pl' })
    .setTimeout(20_000)
    .build();
  await firstValueFrom(connect(options).send({ cmd: 'look' }, record));
  const context = await seen.promise;
  expect(context).toMatchObject({
    pattern: '{"cmd":"look"}',
    requestId: expect.stringMatching(/^[\w-]{1,64}$/),
    headers: { tenant: 'acme', lang: 'pl' },
    metadata: { tenant: 'acme', lang: 'pl' },
    entryId: expect.stringMatching(/^\d+-\d+$/),
    stream: expect.stringMatching(inboxLike('context', 'ctx')),
    service: 'context',
    instance: expect.stringMatching(new RegExp(`^${hostname()}-${process.pid}-[\\w-]+$`)),
    deliveryCount: 1,
    aborted: false,
  });
  expect(context.publishedAt.getTime()).toBe(Number(context.entryId.split('-')[0]));
  expect(context.publishedAt.getTime()).toBeGreaterThanOrEqual(Number(seconds) * 1_000);
  const allowed = context.deadline!.getTime() - context.publishedAt.getTime();
  expect(allowed).toBeLessThanOrEqual(20_000);
  expect(allowed).toBeGreaterThan(19_000);
  expect(context.remainingTime).toBeLessThanOrEqual(allowed + 1);
  expect(context.remainingTime).toBeGreaterThan(19_000);
});

test('an event’s context has no request id and no deadline', async () => {
  seen = deferred();
  const options = { connection: redis.url, service: 'context', namespace: 'ctx-event' };
  await serve(options, ContextController);
  connect(options).emit('looked', {});
  const context = await seen.promise;
  expect(context).toMatchObject({
    pattern: 'looked',
    stream: topicKey('looked', 'ctx-event'),
    headers: {},
    deliveryCount: 1,
    aborted: false,
  });
  expect(context.requestId).toBeUndefined();
  expect(context.deadline).toBeUndefined();
  expect(context.remainingTime).toBeUndefined();
  expect(context.metadata).toBeUndefined();
});

test('a request without a limit has no deadline', async () => {
  seen = deferred();
  await serve({ connection: redis.url, service: 'context' }, ContextController);
  const look = inspect(redis.url);
  await look.xadd('{nest:0}:inbox:context', '*', 'pattern', '{"cmd":"look"}', 'id', 'i', 'reply', 'nobody');
  const context = await seen.promise;
  expect(context.deadline).toBeUndefined();
  expect(context.remainingTime).toBeUndefined();
  expect(context.requestId).toBe('i');
});

test('the instance that runs a handler is a consumer of the service’s group, and registered', async () => {
  seen = deferred();
  const options = { connection: redis.url, service: 'context', namespace: 'ctx-who' };
  await serve(options, ContextController);
  await firstValueFrom(connect(options).send({ cmd: 'look' }, {}));
  const { instance, stream } = await seen.promise;
  const look = inspect(redis.url);
  const consumers = (await look.xinfo('CONSUMERS', stream, 'context')) as unknown[][];
  expect(consumers.map((consumer) => consumer[consumer.indexOf('name') + 1])).toEqual([instance]);
  await expect(look.hkeys('{ctx-who:0}:instances:context')).resolves.toEqual([instance]);
});

test('the signal aborts at the deadline, and the remaining time is 0 then', async () => {
  const release = deferred();
  const aborted = deferred<{ reason: unknown; remaining: number | undefined }>();
  @Controller()
  class SlowController {
    @MessagePattern('slow')
    async slow(@Ctx() context: RedisStreamsContext): Promise<string> {
      await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
      aborted.resolve({ reason: context.signal.reason, remaining: context.remainingTime });
      await release.promise;
      return 'too late';
    }
  }
  const options = { connection: redis.url, service: 'slow' };
  await serve(options, SlowController);
  const client = connect({ ...options, timeout: 150 });
  await expect(firstValueFrom(client.send('slow', {}))).rejects.toThrow(RequestTimeoutError);
  const { reason, remaining } = await aborted.promise;
  expect(reason).toBeInstanceOf(DeadlineExceededError);
  expect(reason).toMatchObject({
    code: 'DEADLINE_EXCEEDED',
    message: expect.stringContaining("'slow'"),
  });
  expect(remaining).toBe(0);
  release.resolve();
  await eventually(
    async () => (await inspect(redis.url).xlen('{nest:0}:inbox:slow')) === 0,
    'the request to be settled',
  );
});

test('the signal does not abort when its handler has ended in time', async () => {
  let signal: AbortSignal | undefined;
  let laterAborted = false;
  @Controller()
  class QuickController {
    @MessagePattern('quick')
    quick(@Ctx() context: RedisStreamsContext): string {
      signal = context.signal;
      return 'done';
    }
    @MessagePattern('slower')
    async slower(@Ctx() context: RedisStreamsContext): Promise<void> {
      await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
      laterAborted = true;
    }
  }
  const options = { connection: redis.url, service: 'quick' };
  await serve(options, QuickController);
  const client = connect({ ...options, timeout: 100 });
  await firstValueFrom(client.send('quick', {}));
  // Another request's deadline, which is later, marks the time.
  client.send('slower', {}).subscribe({ error: () => undefined });
  await eventually(() => laterAborted, 'the later deadline');
  expect(signal!.aborted).toBe(false);
});

test('an instance’s context cannot be changed by headers that look like its properties', async () => {
  seen = deferred();
  const options = { connection: redis.url, service: 'context', namespace: 'ctx-headers' };
  await serve(options, ContextController);
  const headers = { constructor: 'x', toString: 'y', service: 'other' };
  const record = new RedisStreamsRecordBuilder({}).setHeaders(headers).build();
  await firstValueFrom(connect(options).send({ cmd: 'look' }, record));
  const context = await seen.promise;
  expect(context.headers).toEqual(headers);
  expect(context.service).toBe('context');
});
