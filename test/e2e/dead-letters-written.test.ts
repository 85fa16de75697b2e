import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import {
  DeadLetter,
  RedisStreamsContext,
  RedisStreamsExceptionFilter,
  type RedisStreamsReports,
  type RedisStreamsServer,
  type RetryOptions,
} from '../../lib/index.js';
import { closeAll, connect, inspect, Lines, serve, serveModule } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deadLettersIn, pendingIn } from '../support/streams.js';
import { deferred, eventually } from '../support/wait.js';

const TOPIC = '{nest:0}:topic:told';
const DEAD = '{nest:0}:dead:mortal';

let redis: RedisServer;
let look: Redis;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.config('SET', 'maxmemory', '0');
  await look.config('RESETSTAT');
  await look.flushall();
});
afterEach(closeAll);
afterAll(() => redis.stop());

const retry: RetryOptions = { maxDeliveries: 2, backoff: { type: 'fixed', delay: 30 } };
const options = () => ({ connection: redis.url, service: 'mortal', retry });
const dead = () => deadLettersIn(look, DEAD);
const firstDead = () => eventually(async () => (await dead())[0], 'a dead letter');
const pending = (): Promise<number> => pendingIn(look, TOPIC, 'mortal');

async function publish(...events: unknown[]): Promise<void> {
  const client = connect({ connection: redis.url });
  for (const data of events) {
    await firstValueFrom(client.emit('told', data), { defaultValue: undefined });
  }
}

function reports<Name extends keyof RedisStreamsReports>(
  server: RedisStreamsServer,
  name: Name,
): RedisStreamsReports[Name][] {
  const all: RedisStreamsReports[Name][] = [];
  server.hooks.on(name, (report) => all.push(report));
  return all;
}

async function refusals(): Promise<number> {
  return Number(/errorstat_OOM:count=(\d+)/.exec(await look.info('errorstats'))?.[1] ?? 0);
}

class StockError extends Error {
  override readonly name = 'StockError';
}

@Controller()
class FailingController {
  @EventPattern<string>('told')
  on(): never {
    throw new StockError('nothing is left');
  }
}

@Controller()
class RejectingController {
  @EventPattern<string>('told')
  on(@Payload() data: unknown): never {
    throw new DeadLetter(`not ${String(data)}`);
  }
}

test.each([
  [false, { 'dead-name': 'Error', 'dead-message': 'Internal server error' }],
  [true, { 'dead-name': 'StockError', 'dead-message': 'nothing is left' }],
])(
  'a dead letter says what Nest lets a transport see; with the filter (%p): what was thrown',
  async (hasFilter, meta) => {
    const { server } = await serveModule(
      { ...options(), deadLetters: { stack: true } },
      { controllers: [FailingController] },
      { prepare: (app) => hasFilter && app.useGlobalFilters(new RedisStreamsExceptionFilter()) },
    );
    const [handled, retried, deadLettered] = [
      reports(server, 'handled'),
      reports(server, 'retried'),
      reports(server, 'deadLettered'),
    ];
    await publish(1);
    const letter = await firstDead();
    expect(letter.meta).toMatchObject(meta);
    if (hasFilter) {
      expect(letter.meta['dead-stack']).toMatch(
        /^StockError: nothing is left\n {4}at .*dead-letters-written/,
      );
      for (const { error } of [...handled, ...retried, ...deadLettered]) {
        expect(error).toBeInstanceOf(StockError);
      }
    } else {
      expect(letter.meta).not.toHaveProperty('dead-stack');
    }
    expect([handled.length, retried.length, deadLettered.length]).toEqual([2, 1, 1]);
  },
);

test('the stack is not kept unless the service asks for it', async () => {
  await serve(options(), RejectingController);
  await publish('this');
  expect(Object.keys((await firstDead()).meta)).toEqual([
    'dead-stream',
    'dead-id',
    'dead-reason',
    'dead-name',
    'dead-message',
    'dead-deliveries',
    'dead-instance',
  ]);
});

test('past deadLetters.maxLength the oldest are dropped, which is reported and logged', async () => {
  const lines = new Lines();
  const { server } = await serveModule(
    { ...options(), eventConcurrency: 1, deadLetters: { maxLength: 3 } },
    { controllers: [RejectingController] },
    { logger: lines },
  );
  const dropped = reports(server, 'deadLettersDropped');
  await publish('a', 'b', 'c', 'd', 'e');
  await eventually(() => dropped.length === 2, 'two to be dropped');
  expect((await dead()).map(({ meta }) => meta['dead-message'])).toEqual(['not c', 'not d', 'not e']);
  expect(dropped).toEqual([
    { service: 'mortal', count: 1 },
    { service: 'mortal', count: 1 },
  ]);
  expect(lines.with('more than deadLetters.maxLength (3)')).toHaveLength(1);
  await expect(pending()).resolves.toBe(0);
});

test('out of memory: nothing is lost, and the dead letter is stored when there is some again', async () => {
  const started = deferred();
  const release = deferred();
  @Controller()
  class SlowlyRejectingController {
    @EventPattern<string>('told')
    async on(): Promise<never> {
      started.resolve();
      await release.promise;
      throw new DeadLetter('no such product');
    }
  }
  const lines = new Lines();
  const { server } = await serveModule(
    { ...options(), eventConcurrency: 1 },
    { controllers: [SlowlyRejectingController] },
    { logger: lines },
  );
  const deadLettered = reports(server, 'deadLettered');
  await publish(1, 2);
  await started.promise;
  await look.config('SET', 'maxmemory', '1');
  release.resolve();
  await eventually(() => lines.with('Redis refused to store a dead letter')[0], 'a line about it');
  await eventually(async () => (await refusals()) >= 3, 'more than one attempt');
  // What cannot be put away keeps its slot: the next one is not even read.
  await expect(pending()).resolves.toBe(1);
  await expect(dead()).resolves.toEqual([]);
  expect(deadLettered).toEqual([]);
  await look.config('SET', 'maxmemory', '0');
  await eventually(async () => (await dead()).length === 2, 'both dead letters');
  await eventually(async () => (await pending()) === 0, 'nothing to be pending');
  expect(deadLettered).toHaveLength(2);
  expect(lines.with('Redis refused to store a dead letter')).toHaveLength(1);
  await expect(look.xlen(TOPIC)).resolves.toBe(2);
});

test('out of memory: failed events are delivered again all the same', async () => {
  const deliveries: number[] = [];
  const release = deferred();
  @Controller()
  class RecoveringController {
    @EventPattern<string>('told')
    async on(@Ctx() { deliveryCount }: RedisStreamsContext): Promise<void> {
      deliveries.push(deliveryCount);
      if (deliveryCount === 1) {
        await release.promise;
        throw new Error('not yet');
      }
    }
  }
  await serve(options(), RecoveringController);
  await publish(1);
  await eventually(() => deliveries.length === 1, 'the first delivery');
  await look.config('SET', 'maxmemory', '1');
  release.resolve();
  await eventually(() => deliveries.length === 2, 'the second delivery');
  await eventually(async () => (await pending()) === 0, 'the event to be settled');
});

test('something else lies where the dead letters belong: the event is kept until that is put right', async () => {
  const lines = new Lines();
  await look.set(DEAD, 'not a stream');
  await serveModule(options(), { controllers: [RejectingController] }, { logger: lines });
  await publish('this');
  await eventually(() => lines.with('WRONGTYPE')[0], 'a line about it');
  await expect(pending()).resolves.toBe(1);
  await look.del(DEAD);
  await firstDead();
  await expect(pending()).resolves.toBe(0);
});

test('an event that was deleted while its handler failed cannot be kept: that is reported', async () => {
  const started = deferred();
  const release = deferred();
  @Controller()
  class SlowlyRejectingController {
    @EventPattern<string>('told')
    async on(): Promise<never> {
      started.resolve();
      await release.promise;
      throw new DeadLetter('no such product');
    }
  }
  const lines = new Lines();
  const { server } = await serveModule(
    options(),
    { controllers: [SlowlyRejectingController] },
    { logger: lines },
  );
  const [lost, deadLettered] = [reports(server, 'entriesLost'), reports(server, 'deadLettered')];
  await publish(1);
  await started.promise;
  await look.xtrim(TOPIC, 'MAXLEN', 0);
  release.resolve();
  await eventually(() => lost.length === 1, 'the loss to be reported');
  expect(lost).toEqual([{ stream: TOPIC, count: 1, reason: 'deleted' }]);
  expect(lines.with('cannot become a dead letter: somebody has deleted it')).toHaveLength(1);
  expect(deadLettered).toEqual([]);
  await expect(dead()).resolves.toEqual([]);
  await expect(pending()).resolves.toBe(0);
});

test('a waiting event that was deleted meanwhile is given up, and reported', async () => {
  @Controller()
  class WaitingController {
    @EventPattern<string>('told')
    on(@Ctx() context: RedisStreamsContext): void {
      context.retry(300);
    }
  }
  const { server } = await serve(options(), WaitingController);
  const [lost, retried] = [reports(server, 'entriesLost'), reports(server, 'retried')];
  await publish(1);
  await eventually(() => retried.length === 1, 'the event to wait');
  await look.xtrim(TOPIC, 'MAXLEN', 0);
  await eventually(() => lost.length === 1, 'the loss to be reported');
  await eventually(async () => (await pending()) === 0, 'nothing to be pending');
  expect(lost).toEqual([{ stream: TOPIC, count: 1, reason: 'deleted' }]);
});
