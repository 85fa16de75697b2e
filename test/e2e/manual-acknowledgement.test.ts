import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, type Type } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { RedisStreamsContext, type RetryOptions } from '../../lib/index.js';
import { closeAll, connect, inspect, Lines, serve, serveModule } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deadLettersIn, pendingIn } from '../support/streams.js';
import { deferred, eventually } from '../support/wait.js';

let redis: RedisServer;
let look: Redis;
let namespace: string;
let number = 0;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(() => {
  namespace = `manual-${++number}`;
  look = inspect(redis.url);
});
afterEach(closeAll);
afterAll(() => redis.stop());

const retry: RetryOptions = { maxDeliveries: 2, backoff: { type: 'fixed', delay: 50 } };
const options = () => ({
  connection: redis.url,
  service: 'manual',
  namespace,
  acknowledge: 'manual' as const,
  retry,
  shutdownTimeout: 100,
});
const inbox = (): string => `{${namespace}:0}:inbox:manual`;
const topic = (): string => `{${namespace}:0}:topic:told`;
const dead = () => deadLettersIn(look, `{${namespace}:0}:dead:manual`);
const pending = (): Promise<number> => pendingIn(look, topic(), 'manual');
const settled = (): Promise<boolean> =>
  eventually(async () => (await pending()) === 0, 'nothing to be pending');

async function publish(...events: unknown[]): Promise<void> {
  const client = connect({ connection: redis.url, namespace });
  for (const data of events) {
    await firstValueFrom(client.emit('told', data), { defaultValue: undefined });
  }
}

/** A controller whose handlers of `told` do this, and the contexts that they were given. */
function telling(...handlers: ((context: RedisStreamsContext, data: unknown) => unknown)[]) {
  const contexts: RedisStreamsContext[][] = handlers.map(() => []);
  const controllers: Type[] = handlers.map((handle, i) => {
    @Controller()
    class TellingController {
      @EventPattern<string>('told')
      on(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): unknown {
        contexts[i]!.push(context);
        return handle(context, data);
      }
    }
    return TellingController;
  });
  return { contexts, controllers };
}

const nothing = (): void => undefined;

test('an event is not acknowledged when its handler has returned, but when ack() is called', async () => {
  const { contexts, controllers } = telling(nothing);
  const { server } = await serve(options(), ...controllers);
  let handled = 0;
  server.hooks.on('handled', () => handled++);
  await publish(1);
  await eventually(() => contexts[0]!.length === 1, 'the handler to have returned');
  // A request goes the whole way in the meantime.
  await expect(pending()).resolves.toBe(1);
  expect(handled).toBe(0);
  contexts[0]![0]!.ack();
  contexts[0]![0]!.ack();
  await settled();
  expect(handled).toBe(1);
});

test('ack() settles an event at once, while its handler still runs', async () => {
  const release = deferred();
  const ended = deferred();
  const { controllers } = telling(async (context) => {
    context.ack();
    await release.promise;
    ended.resolve();
  });
  await serve(options(), ...controllers);
  await publish(1);
  await eventually(async () => {
    const [group] = (await look.xinfo('GROUPS', topic())) as unknown[][];
    return group?.[group.indexOf('entries-read') + 1] === 1 && (await pending()) === 0;
  }, 'the event to be settled');
  release.resolve();
  await ended.promise;
});

test('an event with several handlers is acknowledged when all of them have called ack()', async () => {
  const { contexts, controllers } = telling(nothing, nothing);
  await serve(options(), ...controllers);
  await publish(1);
  await eventually(() => contexts.every(({ length }) => length === 1), 'both handlers');
  contexts[1]![0]!.ack();
  contexts[1]![0]!.ack();
  await publish(2);
  await eventually(() => contexts[0]!.length === 2, 'the next event');
  await expect(pending()).resolves.toBe(2);
  contexts[0]![0]!.ack();
  await eventually(async () => (await pending()) === 1, 'the first event to be settled');
});

test('a handler that fails before ack() is called again, and only that one', async () => {
  const { contexts, controllers } = telling(
    (context) => context.ack(),
    (context) => {
      if (context.deliveryCount === 1) {
        throw new Error('not yet');
      }
      context.ack();
    },
  );
  await serve(options(), ...controllers);
  await publish(1);
  await eventually(() => contexts[1]!.length === 2, 'the second delivery');
  await settled();
  expect(contexts[0]).toHaveLength(1);
  await expect(dead()).resolves.toEqual([]);
});

test('a handler that always fails makes a dead letter', async () => {
  const { contexts, controllers } = telling(() => {
    throw new Error('as asked');
  });
  await serve(options(), ...controllers);
  await publish(1);
  await eventually(async () => (await dead()).length === 1, 'a dead letter');
  expect(contexts[0]).toHaveLength(2);
  await settled();
});

test('a handler that fails after ack() is not called again: its failure is logged', async () => {
  const lines = new Lines();
  const { contexts, controllers } = telling((context) => {
    context.ack();
    throw new Error('as asked');
  });
  const { server } = await serveModule(options(), { controllers }, { logger: lines });
  const outcomes: string[] = [];
  server.hooks.on('handled', ({ outcome }) => outcomes.push(outcome));
  await publish(1);
  await eventually(() => lines.with('is lost, since it was acknowledged before')[0], 'a line about it');
  await settled();
  expect(contexts[0]).toHaveLength(1);
  expect(outcomes).toEqual(['failed']);
  await expect(dead()).resolves.toEqual([]);
});

test('ack() of a delivery that has failed comes too late: the next one decides', async () => {
  const { contexts, controllers } = telling((context) => {
    if (context.deliveryCount === 1) {
      throw new Error('as asked');
    }
  });
  await serve(options(), ...controllers);
  await publish(1);
  await eventually(() => contexts[0]!.length === 2, 'the second delivery');
  const [first, second] = contexts[0]!;
  first!.ack();
  await publish(2);
  await eventually(() => contexts[0]!.length === 3, 'the next event');
  await expect(pending()).resolves.toBe(2);
  second!.ack();
  await eventually(async () => (await pending()) === 1, 'the first event to be settled');
});

test('context.retry() and context.deadLetter() may be said later, too', async () => {
  const { contexts, controllers } = telling(nothing);
  await serve(options(), ...controllers);
  await publish(1);
  await eventually(() => contexts[0]!.length === 1, 'the first delivery');
  contexts[0]![0]!.retry(20);
  await eventually(() => contexts[0]!.length === 2, 'the second delivery');
  expect(contexts[0]![1]!.deliveryCount).toBe(2);
  contexts[0]![1]!.deadLetter('no such product');
  const letter = await eventually(async () => (await dead())[0], 'a dead letter');
  expect(letter.meta).toMatchObject({ 'dead-reason': 'rejected', 'dead-message': 'no such product' });
  await settled();
});

test('an event that is not acknowledged holds a slot', async () => {
  const { contexts, controllers } = telling(nothing);
  await serve({ ...options(), eventConcurrency: 2 }, ...controllers);
  await publish(1, 2, 3);
  await eventually(() => contexts[0]!.length === 2, 'two events');
  await expect(pending()).resolves.toBe(2);
  contexts[0]![0]!.ack();
  await eventually(() => contexts[0]!.length === 3, 'the third event');
  contexts[0]!.slice(1).forEach((context) => context.ack());
  await settled();
});

test('close() hands over an event that was not acknowledged, and an ack() after that says nothing', async () => {
  const { contexts, controllers } = telling(nothing);
  const { app } = await serve(options(), ...controllers);
  await publish(1);
  await eventually(() => contexts[0]!.length === 1, 'the first delivery');
  const { signal } = contexts[0]![0]!;
  await app.close();
  expect(signal.aborted).toBe(true);
  contexts[0]![0]!.ack();
  await expect(pending()).resolves.toBe(1);
  await serve(options(), ...controllers);
  await eventually(() => contexts[0]!.length === 2, 'the event to be taken over');
  contexts[0]![1]!.ack();
  await settled();
});

test('requests are as with any other acknowledgement: settled by their reply', async () => {
  @Controller()
  class AskedController {
    @MessagePattern('ask')
    ask(@Payload() data: unknown): unknown {
      return data;
    }
  }
  await serve(options(), AskedController);
  const client = connect({ connection: redis.url, service: 'manual', namespace });
  await expect(firstValueFrom(client.send('ask', 'x'))).resolves.toBe('x');
  await eventually(async () => (await look.xlen(inbox())) === 0, 'an empty inbox');
});

test('a request that is replayed is settled when its handler has ended: it cannot call ack()', async () => {
  const asked: unknown[] = [];
  @Controller()
  class AskedController {
    @MessagePattern('ask')
    ask(@Payload() data: unknown): unknown {
      asked.push(data);
      return data;
    }
  }
  await serve(options(), AskedController);
  await look.xadd(inbox(), '*', 'pattern', 'ask', 'id', 'replayed', 'data', '"again"');
  await eventually(() => asked.length === 1, 'the handler');
  await eventually(async () => (await look.xlen(inbox())) === 0, 'an empty inbox');
  expect(asked).toEqual(['again']);
});
