import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { NEVER, Observable, firstValueFrom, interval, take, tap } from 'rxjs';
import {
  CallerGoneError,
  RedisStreamsContext,
  SlowConsumerError,
  StreamInterruptedError,
  type RedisStreamsReports,
  type RedisStreamsServer,
} from '../../lib/index.js';
import { closeAll, connect, inspect, onClose, serve } from '../support/app.js';
import { CompiledScripts, type RunningScript } from '../support/child-process.js';
import { RedisServer } from '../support/redis-server.js';
import { pendingIn } from '../support/streams.js';
import { eventually } from '../support/wait.js';

const LEASE = 500;
const HOUR = 3_600_000;

/** BLOCK and grace: how long a client may take to make its stream again. */
const GONE_AFTER_MS = 7_000;

const INBOX = '{nest:0}:inbox:tasks';
const REPLIES = 'nest:replies:by-hand';

let scripts: CompiledScripts;
let redis: RedisServer;
let look: Redis;
let options: { connection: string; service: string; lease: number };
beforeAll(async () => {
  scripts = await CompiledScripts.make();
  redis = await RedisServer.start();
  options = { connection: redis.url, service: 'tasks', lease: LEASE };
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
});
afterEach(async () => {
  await closeAll();
  jest.restoreAllMocks();
});
afterAll(async () => {
  await redis.stop();
  scripts.remove();
});

async function instance(script: string, ...args: string[]): Promise<RunningScript> {
  const running = scripts.run(script, JSON.stringify(options), ...args);
  onClose(() => running.end('SIGKILL'));
  await running.says('listening');
  return running;
}

const client = (timeout = 10_000) => connect({ connection: redis.url, service: 'tasks', timeout });

async function makeReplies(): Promise<void> {
  await look.xgroup('CREATE', REPLIES, 'make', '0', 'MKSTREAM');
}

/** A request as a client writes it. */
async function request(pattern: string, id: string, ...more: string[]): Promise<void> {
  await look.xadd(INBOX, '*', 'pattern', pattern, 'data', '1', 'id', id, 'reply', 'by-hand', ...more);
}

const settled = (): Promise<boolean> =>
  eventually(
    async () => (await pendingIn(look, INBOX, 'tasks')) === 0 && (await look.xlen(INBOX)) === 0,
    'all requests to be settled',
  );

function reports<Name extends keyof RedisStreamsReports>(
  server: RedisStreamsServer,
  name: Name,
): RedisStreamsReports[Name][] {
  const all: RedisStreamsReports[Name][] = [];
  server.hooks.on(name, (report) => all.push(report));
  return all;
}

describe.each([
  ['server', HOUR],
  ['server', -HOUR],
  ['client', HOUR],
  ['client', -HOUR],
])('with the clock of the %s wrong by %i ms', (whose, shift) => {
  /** Deadlines are by Redis' clock, which is right. */
  async function start(): Promise<RunningScript> {
    if (whose === 'server') {
      return instance('shifted-instance', String(shift));
    }
    const now = Date.now.bind(Date);
    jest.spyOn(Date, 'now').mockImplementation(() => now() + shift);
    return instance('instance');
  }

  test('requests are answered, end at their deadlines, and are not run after them', async () => {
    // Before the server is there: it is over when the server starts.
    await expect(
      firstValueFrom(client(50).send('task', { name: 'over', then: 'end' })),
    ).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    const server = await start();
    await expect(firstValueFrom(client().send('task', { name: 'short', then: 'end' }))).resolves.toMatch(
      /^short by/,
    );
    const since = performance.now();
    const answer = firstValueFrom(client(600).send('task', { name: 'long', then: 'hang' }));
    await expect(answer).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    await server.says('aborted long DeadlineExceededError');
    const took = performance.now() - since;
    expect(took).toBeGreaterThan(550);
    expect(took).toBeLessThan(2_000);
    expect(server.output).not.toContain('started over');
  });
});

test('a request whose deadline has passed is not run and not answered, and is settled', async () => {
  const ran: unknown[] = [];
  @Controller()
  class LateController {
    @MessagePattern('task')
    task(@Payload() data: unknown): void {
      ran.push(data);
    }
  }
  await makeReplies();
  await look.xadd(
    INBOX,
    '1000-1',
    'pattern',
    'task',
    'data',
    '1',
    'id',
    'r1',
    'reply',
    'by-hand',
    'ttl',
    '9',
  );
  const server = (await serve(options, LateController)).server;
  const [expired, handled] = [reports(server, 'expired'), reports(server, 'handled')];
  await settled();
  await look.xadd(INBOX, '*', 'pattern', 'task', 'data', '1', 'id', 'r2', 'reply', 'by-hand', 'ttl', '0');
  await settled();
  await eventually(
    () => expired.some(({ entryId }) => entryId !== '1000-1'),
    'the second one to be reported',
  );
  expect(ran).toEqual([]);
  expect(handled).toEqual([]);
  await expect(look.xlen(REPLIES)).resolves.toBe(0);
});

test('a handler whose caller is gone is told to stop: one that computes, and one that gives values without end', async () => {
  const reasons: Record<string, unknown> = {};
  let unsubscribed = 0;
  @Controller()
  class LongController {
    @MessagePattern('computes')
    computes(@Ctx() { signal }: RedisStreamsContext): Promise<string> {
      return new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          Object.assign(reasons, { computes: signal.reason as unknown });
          resolve('for nobody');
        });
      });
    }
    @MessagePattern('silent')
    silent(@Ctx() { signal }: RedisStreamsContext): Observable<never> {
      signal.addEventListener('abort', () => Object.assign(reasons, { silent: signal.reason as unknown }));
      return NEVER;
    }
    @MessagePattern('values')
    values(@Ctx() { signal }: RedisStreamsContext): Observable<number> {
      signal.addEventListener('abort', () => Object.assign(reasons, { values: signal.reason as unknown }));
      return interval(50).pipe(tap({ unsubscribe: () => unsubscribed++ }));
    }
  }
  const { server } = await serve({ ...options, shutdownTimeout: 100 }, LongController);
  const handled = reports(server, 'handled');
  await makeReplies();
  // A caller that lives has nothing to fear.
  await look.xgroup('CREATE', 'nest:replies:alive', 'make', '0', 'MKSTREAM');
  await look.xadd(INBOX, '*', 'pattern', 'silent', 'data', '1', 'id', 'r0', 'reply', 'alive');
  await request('computes', 'r1');
  await request('silent', 'r2');
  await request('values', 'r3');
  await eventually(async () => (await look.xlen(REPLIES)) > 1, 'values to come');
  const since = performance.now();
  await look.del(REPLIES);
  await eventually(() => reasons['values'], 'the values to end', GONE_AFTER_MS + 2_000);
  expect(performance.now() - since).toBeGreaterThan(GONE_AFTER_MS - 500);
  expect(unsubscribed).toBe(1);
  await eventually(() => reasons['computes'] && reasons['silent'], 'the others to be told', 10_000);
  for (const [pattern, reason] of Object.entries(reasons)) {
    expect(reason).toEqual(new CallerGoneError(pattern));
  }
  await eventually(async () => (await look.xlen(INBOX)) === 1, 'all but the living one to be settled');
  await expect(look.exists(REPLIES)).resolves.toBe(0);
  expect(handled.map(({ outcome }) => outcome)).toEqual(['aborted', 'aborted', 'aborted']);
  await expect(pendingIn(look, INBOX, 'tasks')).resolves.toBe(1);
}, 30_000);

test('past maxReplyBacklog a stream of values ends in a SlowConsumerError, and other replies are stored', async () => {
  let unsubscribed = 0;
  const reasons: unknown[] = [];
  @Controller()
  class FastController {
    @MessagePattern('values')
    values(@Ctx() { signal }: RedisStreamsContext): Observable<number> {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return interval(2).pipe(tap({ unsubscribe: () => unsubscribed++ }));
    }
    @MessagePattern('task')
    task(@Payload() data: unknown): unknown {
      return data;
    }
  }
  await serve({ ...options, maxReplyBacklog: 10 }, FastController);
  await makeReplies();
  await request('values', 'r1');
  await settled();
  const frames = (await look.xrange(REPLIES, '-', '+')).flatMap(([, fields]) => fields);
  const error = JSON.parse(frames[frames.indexOf('er1') + 1]!) as Record<string, unknown>;
  expect(error).toMatchObject({ name: 'SlowConsumerError', code: 'SLOW_CONSUMER' });
  expect(frames.indexOf('er1')).toBe(frames.length - 2);
  expect(await look.xlen(REPLIES)).toBeLessThan(40);
  expect(unsubscribed).toBe(1);
  expect(reasons).toEqual([expect.any(SlowConsumerError)]);
  await request('task', 'r2');
  await settled();
  expect((await look.xrevrange(REPLIES, '+', '-', 'COUNT', 1))[0]![1]).toEqual(['vr2', '1']);
});

test('a caller that reads gets all values, though they are many more than maxReplyBacklog', async () => {
  @Controller()
  class ManyController {
    @MessagePattern('values')
    values(): Observable<number> {
      return interval(1).pipe(take(600));
    }
  }
  await serve({ ...options, maxReplyBacklog: 200 }, ManyController);
  const values: number[] = [];
  await new Promise<void>((resolve, reject) => {
    client()
      .send<number>('values', {})
      .subscribe({ next: (value) => values.push(value), error: reject, complete: resolve });
  });
  expect(values).toHaveLength(600);
});

test('a stream of values that is taken over after some were sent is interrupted, and gives no value twice', async () => {
  const victim = await instance('instance');
  const values: string[] = [];
  const ended = new Promise<unknown>((resolve) => {
    client()
      .send<string>('task.values', { name: 'v', then: 'end', ms: 20 })
      .subscribe({
        next: (value) => values.push(value),
        error: resolve,
        complete: () => resolve('completed'),
      });
  });
  await eventually(() => values.length >= 3, 'some values');
  const survivor = await instance('instance');
  await victim.end('SIGKILL');
  await expect(ended).resolves.toBeInstanceOf(StreamInterruptedError);
  expect(survivor.output).toContain('started v 2');
  expect(values).toEqual(values.map((_, i) => `v ${i}`));
});
