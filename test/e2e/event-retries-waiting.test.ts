import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { RedisStreamsContext, RetryLater, type RedisStreamsClient } from '../../lib/index.js';
import { DUE_AT_IDLE_MS } from '../../lib/redis/consumers.js';
import { closeAll, connect, inspect, onClose, serve } from '../support/app.js';
import { CompiledScripts, type RunningScript } from '../support/child-process.js';
import { RedisServer } from '../support/redis-server.js';
import { pendingIn, pendingRows } from '../support/streams.js';
import { eventually } from '../support/wait.js';

const LEASE = 500;
const HOUR = 3_600_000;

const INBOX = '{nest:0}:inbox:tasks';
const TOPIC = '{nest:0}:topic:task.event';

let scripts: CompiledScripts;
let redis: RedisServer;
let look: Redis;
let client: RedisStreamsClient;
let options: { connection: string; service: string; lease: number };
beforeAll(async () => {
  scripts = await CompiledScripts.make();
  redis = await RedisServer.start();
  options = { connection: redis.url, service: 'tasks', lease: LEASE };
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
  client = connect({ connection: redis.url, service: 'tasks' });
});
afterEach(closeAll);
afterAll(async () => {
  await redis.stop();
  scripts.remove();
});

/** An instance in a process of its own, listening. */
async function instance(more: object = {}): Promise<RunningScript> {
  const script = scripts.run('instance', JSON.stringify({ ...options, ...more }));
  onClose(() => script.end('SIGKILL'));
  await script.says('listening');
  return script;
}

async function emit(data: unknown): Promise<void> {
  await firstValueFrom(client.emit('task.event', data), { defaultValue: undefined });
}

const isMine = (consumer: string): boolean => consumer.includes(`-${process.pid}-`);

/** The waiting events of these consumers, and how long each has still to wait. */
async function waiting(ofWhom: (consumer: string) => boolean = () => true) {
  return (await pendingRows(look, TOPIC, 'tasks'))
    .filter(({ consumer }) => consumer.endsWith('~wait') && ofWhom(consumer))
    .map(({ idle, deliveries }) => ({ remaining: DUE_AT_IDLE_MS - idle, deliveries }));
}

/** What asks to be delivered again, and when each was delivered. */
function asking() {
  const deliveries: string[] = [];
  @Controller()
  class AskingController {
    @EventPattern<string>('task.event')
    on(
      @Payload() { name, later }: { name: string; later?: number },
      @Ctx() context: RedisStreamsContext,
    ): void {
      deliveries.push(`${name} ${context.deliveryCount}`);
      if (later !== undefined && context.deliveryCount === 1) {
        throw new RetryLater(later);
      }
    }
    @MessagePattern('task')
    ask(@Payload() data: unknown): unknown {
      return data;
    }
    @EventPattern<string>('replayed')
    replayed(@Payload() name: string): void {
      deliveries.push(name);
    }
  }
  return { deliveries, AskingController };
}

test('a waiting event holds no slot: with a single one the others are handled', async () => {
  const { deliveries, AskingController } = asking();
  await serve({ ...options, eventConcurrency: 1 }, AskingController);
  await emit({ name: 'waits', later: HOUR });
  await emit({ name: 'waits too', later: HOUR });
  await emit({ name: 'works' });
  await eventually(() => deliveries.includes('works 1'), 'the third event to be handled');
  await eventually(async () => (await waiting()).length === 2, 'the others to wait');
  await eventually(async () => (await pendingIn(look, TOPIC, 'tasks')) === 2, 'the third to be settled');
});

test('waiting events survive the death of their instance, with what is left of their backoff', async () => {
  const victim = await instance();
  await emit({ name: 'soon', then: 'later', ms: 2_500 });
  await emit({ name: 'late', then: 'later', ms: HOUR });
  const failed = performance.now();
  const before = await eventually(async () => {
    const all = await waiting();
    return all.length === 2 ? all : undefined;
  }, 'both to wait');
  const since = performance.now();
  await victim.end('SIGKILL');
  const { deliveries, AskingController } = asking();
  await serve(options, AskingController);
  const adopted = await eventually(async () => {
    const mine = await waiting(isMine);
    return mine.length === 2 ? mine : undefined;
  }, 'both to be taken over');
  const elapsed = performance.now() - since;
  for (const [i, { remaining, deliveries: count }] of adopted.entries()) {
    expect(Math.abs(before[i]!.remaining - elapsed - remaining)).toBeLessThan(300);
    expect(count).toBe(1);
  }
  await eventually(() => deliveries.length > 0, 'the first one to be due');
  expect(performance.now() - failed).toBeGreaterThanOrEqual(2_490);
  expect(deliveries).toEqual(['soon 2']);
  await eventually(async () => (await pendingIn(look, TOPIC, 'tasks')) === 1, 'only the late one to be left');
});

test('many waiting events are taken over together', async () => {
  const victim = await instance();
  const count = 900;
  await Promise.all(
    Array.from({ length: count }, (_, i) => emit({ name: `e${i}`, then: 'later', ms: HOUR })),
  );
  await eventually(async () => (await waiting()).length === count, 'all to wait');
  await victim.end('SIGKILL');
  await serve(options, asking().AskingController);
  await eventually(async () => (await waiting(isMine)).length > 0, 'the first to be taken over');
  const since = performance.now();
  await eventually(async () => (await waiting(isMine)).length === count, 'all to be taken over');
  // Not a hundred at each sweep.
  expect(performance.now() - since).toBeLessThan(LEASE);
});

test('an instance that closes leaves its waiting events to the others, with what is left of their backoff', async () => {
  const { deliveries, AskingController } = asking();
  const { app } = await serve(options, AskingController);
  const published = performance.now();
  await emit({ name: 'soon', later: 1_500 });
  await emit({ name: 'late', later: HOUR });
  await eventually(async () => (await waiting()).length === 2, 'both to wait');
  const closing = performance.now();
  await app.close();
  expect(performance.now() - closing).toBeLessThan(1_000);
  expect(await waiting((consumer) => consumer === '~wait')).toHaveLength(2);
  await serve(options, AskingController);
  await eventually(() => deliveries.includes('soon 2'), 'the first one to be due');
  expect(performance.now() - published).toBeGreaterThanOrEqual(1_490);
  const [late] = await waiting();
  expect(late!.remaining).toBeLessThan(HOUR - 1_400);
  expect(late!.remaining).toBeGreaterThan(HOUR - 3_000);
  expect(deliveries).toEqual(['soon 1', 'late 1', 'soon 2']);
});

test('past maxWaitingRetries no events are read, but requests and the inbox are; it goes on when some were delivered', async () => {
  const { deliveries, AskingController } = asking();
  await serve({ ...options, eventConcurrency: 1, maxWaitingRetries: 2 }, AskingController);
  for (const name of ['a', 'b', 'c', 'd']) {
    await emit({ name, later: 1_200 });
  }
  await eventually(async () => (await waiting()).length === 2, 'two to wait');
  await look.xadd(INBOX, '*', 'pattern', 'replayed', 'data', '"from the inbox"');
  await expect(firstValueFrom(client.send('task', 'answered'))).resolves.toBe('answered');
  await eventually(() => deliveries.includes('from the inbox'), 'the event in the inbox');
  expect(deliveries).toEqual(['a 1', 'b 1', 'from the inbox']);
  await expect(pendingIn(look, TOPIC, 'tasks')).resolves.toBe(2);
  await eventually(() => deliveries.includes('d 2'), 'the last of them to succeed');
  await eventually(async () => (await pendingIn(look, TOPIC, 'tasks')) === 0, 'nothing to be pending');
  expect(deliveries.filter((delivery) => delivery.endsWith('2')).sort()).toEqual([
    'a 2',
    'b 2',
    'c 2',
    'd 2',
  ]);
});
