import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { Redis } from 'ioredis';
import { finalize, firstValueFrom, from, NEVER, startWith } from 'rxjs';
import { closeAll, connect, serve } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

let redis: RedisServer;
let look: Redis;

beforeAll(async () => {
  redis = await RedisServer.start();
  look = new Redis(redis.url);
});
afterEach(closeAll);
afterAll(async () => {
  look.disconnect();
  await redis.stop();
});

const pending = async (stream: string, group: string): Promise<unknown> =>
  (await look.xpending(stream, group))[0];

test('an event is handled however late, also where another language gave it a ttl', async () => {
  const work = deferred<string>();
  let hasStarted = false;
  let hasFinished = false;
  @Controller()
  class LateController {
    @EventPattern<string>('late')
    on() {
      hasStarted = true;
      return from(work.promise.then(() => (hasFinished = true)));
    }
  }
  await serve({ connection: redis.url, namespace: 'late', service: 'late' }, LateController);
  await look.xadd('{late:0}:topic:late', '*', 'pattern', 'late', 'data', '1', 'ttl', '1');
  await eventually(() => hasStarted, 'the handler to start, though its ttl is over');
  await expect(pending('{late:0}:topic:late', 'late')).resolves.toBe(1);
  work.resolve('done');
  await eventually(
    async () => (await pending('{late:0}:topic:late', 'late')) === 0,
    'the event to be settled',
  );
  expect(hasFinished).toBe(true);
});

test('a handler whose teardown throws gives its slot back, and hurts nobody', async () => {
  @Controller()
  class BadTeardownController {
    @MessagePattern('endless')
    endless() {
      return NEVER.pipe(
        startWith(1),
        finalize(() => {
          throw new Error('teardown failed');
        }),
      );
    }
    @MessagePattern('echo')
    echo(@Payload() data: unknown): unknown {
      return data;
    }
  }
  const options = { connection: redis.url, namespace: 'teardown', service: 'bad' };
  await serve({ ...options, concurrency: 1 }, BadTeardownController);
  const hasty = connect({ ...options, timeout: 200 });
  await expect(
    new Promise((resolve, reject) =>
      hasty.send('endless', {}).subscribe({ error: reject, complete: () => resolve(1) }),
    ),
  ).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT', valuesReceived: 1 });
  await expect(firstValueFrom(connect(options).send('echo', 'next'))).resolves.toBe('next');
  await eventually(async () => (await look.xlen('{teardown:0}:inbox:bad')) === 0, 'both to be settled');
});

test('a flood of malformed events stops neither the good ones nor close()', async () => {
  const seen = deferred<unknown>();
  @Controller()
  class GoodController {
    @EventPattern<string>('flood')
    on(@Payload() data: unknown): void {
      seen.resolve(data);
    }
  }
  const topic = '{flood:0}:topic:flood';
  const flood = look.pipeline();
  for (let i = 0; i < 20_000; i++) {
    flood.xadd(topic, '*', 'no', 'pattern');
  }
  await flood.exec();
  await look.xadd(topic, '*', 'pattern', 'flood', 'data', '"good"');
  const options = { connection: redis.url, namespace: 'flood', service: 'flood', eventConcurrency: 50_000 };
  const { app } = await serve(options, GoodController);
  await expect(seen.promise).resolves.toBe('good');
  await eventually(
    async () => (await look.xlen('{flood:0}:dead:flood')) === 20_000,
    'the dead letters',
    15_000,
  );
  await app.close();
  await expect(pending(topic, 'flood')).resolves.toBe(0);
});

test('a reply that cannot be stored holds up nobody for ever, though its request has no deadline', async () => {
  @Controller()
  class EchoController {
    @MessagePattern('echo')
    echo(@Payload() data: unknown): unknown {
      return data;
    }
  }
  const options = { connection: redis.url, namespace: 'gone', service: 'echo' };
  await serve({ ...options, concurrency: 1 }, EchoController);
  // Nobody made this reply stream: Redis answers nil, and the slot is free for the next.
  await look.xadd('{gone:0}:inbox:echo', '*', 'pattern', 'echo', 'data', '1', 'id', 'a-0', 'reply', 'nobody');
  await expect(firstValueFrom(connect(options).send('echo', 'next'))).resolves.toBe('next');
});
