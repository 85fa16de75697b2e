import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, interval, Observable } from 'rxjs';
import {
  RedisStreamsContext,
  RequestCancelledError,
  type RedisStreamsReports,
  type RedisStreamsServer,
} from '../../lib/index.js';
import { closeAll, connect, inspect, onClose, serve } from '../support/app.js';
import { CompiledScripts } from '../support/child-process.js';
import { RedisServer } from '../support/redis-server.js';
import { pendingIn } from '../support/streams.js';
import { deferred, eventually, type Deferred } from '../support/wait.js';

const LEASE = 500;

const INBOX = '{nest:0}:inbox:tasks';
const CONTROL = '{nest:0}:control:tasks';
const CANCELLED = '{nest:0}:cancelled';
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
  await look.xgroup('CREATE', REPLIES, 'make', '0', 'MKSTREAM');
  run = { contexts: [], aborted: deferred(), release: deferred(), ticks: 0, unsubscribed: deferred() };
});
afterEach(closeAll);
afterAll(async () => {
  await redis.stop();
  scripts.remove();
});

/** What the handlers of a test have seen, and wait for. */
let run: {
  contexts: RedisStreamsContext[];
  aborted: Deferred<unknown>;
  release: Deferred;
  ticks: number;
  unsubscribed: Deferred;
};

@Controller()
class TaskController {
  @MessagePattern('task')
  async task(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): Promise<unknown> {
    run.contexts.push(context);
    context.signal.addEventListener('abort', () => run.aborted.resolve(context.signal.reason));
    await run.release.promise;
    return data;
  }
  @MessagePattern('fetch')
  fetch(@Ctx() { signal }: RedisStreamsContext): Promise<unknown> {
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        run.aborted.resolve(signal.reason);
        reject(signal.reason as Error);
      });
    });
  }
  @MessagePattern('values')
  values(@Ctx() context: RedisStreamsContext): Observable<number> {
    run.contexts.push(context);
    return new Observable((subscriber) => {
      const ticking = interval(10).subscribe((i) => {
        run.ticks++;
        subscriber.next(i);
      });
      return () => {
        ticking.unsubscribe();
        run.unsubscribed.resolve();
      };
    });
  }
}

/** A request as a client writes it, with half a minute to go. */
async function request(pattern: string, id: string): Promise<void> {
  await look.xadd(INBOX, '*', 'pattern', pattern, 'data', '1', 'id', id, 'reply', 'by-hand', 'ttl', '30000');
}

/** What a client does that has unsubscribed from a request which was delivered already. */
async function cancel(id: string): Promise<void> {
  await look
    .multi()
    .zadd(CANCELLED, Date.now() + 30_000, id)
    .xadd(CONTROL, '*', 'cancel', id)
    .exec();
}

const settled = (): Promise<boolean> =>
  eventually(
    async () => (await pendingIn(look, INBOX, 'tasks')) === 0 && (await look.xlen(INBOX)) === 0,
    'the request to be settled',
  );

function reports<Name extends keyof RedisStreamsReports>(
  server: RedisStreamsServer,
  name: Name,
): RedisStreamsReports[Name][] {
  const all: RedisStreamsReports[Name][] = [];
  server.hooks.on(name, (report) => all.push(report));
  return all;
}

test('the signal of a running handler aborts, what it still returns is for nobody, and its request is settled', async () => {
  const { server } = await serve({ ...options, concurrency: 1 }, TaskController);
  const [cancelled, handled] = [reports(server, 'cancelled'), reports(server, 'handled')];
  await request('task', 'r1');
  await eventually(() => run.contexts.length === 1, 'the handler to run');
  await cancel('r1');
  await expect(run.aborted.promise).resolves.toEqual(new RequestCancelledError('task'));
  // It holds its slot as long as it runs, told to stop or not.
  await request('task', 'r2');
  await expect(pendingIn(look, INBOX, 'tasks')).resolves.toBe(1);
  run.release.resolve();
  await settled();
  expect((await look.xrange(REPLIES, '-', '+')).map(([, fields]) => fields)).toEqual([['vr2', '1']]);
  expect(cancelled).toMatchObject([{ pattern: 'task', kind: 'request', wasRunning: true, deliveries: 1 }]);
  expect(handled.map(({ outcome }) => outcome)).toEqual(['aborted', 'succeeded']);
});

test('a handler that fails of being cancelled answers nobody', async () => {
  const { server } = await serve(options, TaskController);
  const handled = reports(server, 'handled');
  await request('fetch', 'r1');
  await eventually(async () => (await pendingIn(look, INBOX, 'tasks')) === 1, 'the request to be delivered');
  await cancel('r1');
  await settled();
  await expect(look.xlen(REPLIES)).resolves.toBe(0);
  expect(handled).toMatchObject([{ outcome: 'aborted' }]);
});

test('a stream without end is unsubscribed from, within a second', async () => {
  await serve(options, TaskController);
  await request('values', 'r1');
  await eventually(async () => (await look.xlen(REPLIES)) > 2, 'some values');
  const since = performance.now();
  await cancel('r1');
  await run.unsubscribed.promise;
  expect(performance.now() - since).toBeLessThan(1_000);
  await settled();
  const values = (await look.xrange(REPLIES, '-', '+')).flatMap(([, fields]) =>
    fields.filter((_, i) => i % 2 === 0),
  );
  expect(values.every((field) => field.startsWith('nr1:'))).toBe(true);
  expect(run.contexts[0]!.signal.reason).toBeInstanceOf(RequestCancelledError);
  const { ticks } = run;
  await request('task', 'r2');
  await eventually(() => run.contexts.length === 2, 'another request');
  expect(run.ticks).toBe(ticks);
  run.release.resolve();
});

test('a request that is heard to be cancelled before its turn is not run, and is settled', async () => {
  const { server } = await serve({ ...options, concurrency: 1 }, TaskController);
  const cancelled = reports(server, 'cancelled');
  await request('task', 'r1');
  await eventually(() => run.contexts.length === 1, 'the first request to run');
  await request('task', 'r2');
  await cancel('r2');
  // Control entries are handled in their order: when this one has been, the one before has.
  await cancel('r1');
  await run.aborted.promise;
  run.release.resolve();
  await settled();
  expect(run.contexts).toHaveLength(1);
  expect(cancelled.map(({ wasRunning }) => wasRunning)).toEqual([true, false]);
  await expect(look.xlen(REPLIES)).resolves.toBe(0);
});

test('a cancellation that is heard of twice is reported once', async () => {
  const { server } = await serve(options, TaskController);
  const cancelled = reports(server, 'cancelled');
  await request('task', 'r1');
  await eventually(() => run.contexts.length === 1, 'the handler to run');
  await cancel('r1');
  await cancel('r1');
  await request('task', 'r2');
  await eventually(() => run.contexts.length === 2, 'another request to run');
  await cancel('r2');
  await eventually(() => run.contexts[1]!.signal.aborted, 'the other request to be cancelled');
  expect(cancelled).toHaveLength(2);
  run.release.resolve();
  await settled();
});

test('a cancellation of something that is not here does no harm', async () => {
  await serve(options, TaskController);
  await cancel('unknown');
  await look.xadd(CONTROL, '*', 'cancel', '', 'cancel', 'r1');
  await look.xadd(CONTROL, '*', 'something', 'else');
  await look.xadd(CONTROL, '*', 'orphans', 'elsewhere');
  run.release.resolve();
  const client = connect({ connection: redis.url, service: 'tasks' });
  await expect(firstValueFrom(client.send('task', 'answered'))).resolves.toBe('answered');
});

/** A process that has a request, and does nothing with it. */
async function victimWith(id: string) {
  const victim = scripts.run('instance', JSON.stringify(options));
  onClose(() => victim.end('SIGKILL'));
  await victim.says('listening');
  const data = JSON.stringify({ name: id, then: 'hang' });
  await look.xadd(INBOX, '*', 'pattern', 'task', 'data', data, 'id', id, 'reply', 'by-hand', 'ttl', '30000');
  await victim.says(`started ${id} 1`);
  return victim;
}

test('a request that is taken over is not run by an instance that has heard of its cancellation', async () => {
  const victim = await victimWith('r1');
  const { server } = await serve({ ...options, concurrency: 1 }, TaskController);
  const [takenOver, cancelled] = [reports(server, 'takenOver'), reports(server, 'cancelled')];
  await victim.end('SIGKILL');
  await cancel('r1');
  await settled();
  expect(takenOver).toMatchObject([{ pattern: 'task' }]);
  expect(cancelled).toMatchObject([{ pattern: 'task', wasRunning: false }]);
  expect(run.contexts).toEqual([]);
  await expect(look.xlen(REPLIES)).resolves.toBe(0);
});

test('nor by one that was not there yet when it was cancelled', async () => {
  const victim = await victimWith('r1');
  await victim.end('SIGKILL');
  await cancel('r1');
  const { server } = await serve(options, TaskController);
  const cancelled = reports(server, 'cancelled');
  await settled();
  expect(cancelled).toMatchObject([{ wasRunning: false }]);
  expect(run.contexts).toEqual([]);
  await expect(look.xlen(REPLIES)).resolves.toBe(0);
});

test('what was cancelled while the control stream could not be read is looked up', async () => {
  await serve(options, TaskController);
  await request('task', 'r1');
  await eventually(() => run.contexts.length === 1, 'the handler to run');
  await look.zadd(CANCELLED, Date.now() + 30_000, 'r1');
  // Long over: the sweep has not come by yet, or it would be gone.
  await look.zadd(CANCELLED, Date.now() - 30_000, 'r0');
  const clients = String(await look.client('LIST')).split('\n');
  const control = clients.find((line) => line.includes('nestjs-redis-streams:control'));
  await look.client('KILL', 'ID', /id=(\d+)/.exec(control!)![1]!);
  await expect(run.aborted.promise).resolves.toBeInstanceOf(RequestCancelledError);
  run.release.resolve();
  await settled();
});

test('cancellations are forgotten once their deadlines have passed', async () => {
  await look.zadd(CANCELLED, Date.now() - 1, 'over');
  await look.zadd(CANCELLED, Date.now() + 60_000, 'not yet');
  await serve(options, TaskController);
  await eventually(async () => (await look.zcard(CANCELLED)) === 1, 'a sweep');
  await expect(look.zrange(CANCELLED, '0', '-1')).resolves.toEqual(['not yet']);
});
