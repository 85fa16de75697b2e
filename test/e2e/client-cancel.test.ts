import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import {
  firstValueFrom,
  lastValueFrom,
  Subject,
  take,
  takeUntil,
  timeout,
  TimeoutError,
  toArray,
} from 'rxjs';
import { RedisStreamsRecordBuilder, RequestTimeoutError } from '../../lib/index.js';
import { closeAll, connect } from '../support/app.js';
import { CANCELLED, CONTROL, HandServer, INBOX } from '../support/hand-server.js';
import { entriesOf, heldBy, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
let server: HandServer;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  await inspect.flushall();
  server = await HandServer.start(inspect);
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  inspect.disconnect();
  await redis.stop();
});

function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'it did not fail',
    (error: unknown) => error,
  );
}

const inboxIsEmpty = async (): Promise<boolean> => (await inspect.xlen(INBOX)) === 0;

test('a request that was not delivered is deleted when its caller leaves, and nobody is told', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const subscription = client.send('echo', 1).subscribe();
  await server.waiting(1);
  subscription.unsubscribe();
  await eventually(inboxIsEmpty, 'the entry to be deleted');
  await expect(inspect.exists(CANCELLED, CONTROL)).resolves.toBe(0);
});

test('so is one of a service that has never been up', async () => {
  const client = connect({ connection: redis.url, service: 'nobody' });
  const inbox = '{nest:0}:inbox:nobody';
  const subscription = client.send('echo', 1).subscribe();
  await eventually(async () => (await inspect.xlen(inbox)) === 1, 'the request in Redis');
  subscription.unsubscribe();
  await eventually(async () => (await inspect.xlen(inbox)) === 0, 'the entry to be deleted');
});

test('a request that was delivered is put down with its deadline by the clock of Redis, and its service is told', async () => {
  const client = connect({ connection: redis.url, service: 'echo', timeout: 20_000 });
  const subscription = client.send('echo', 1).subscribe();
  const [request] = await server.take(1);
  subscription.unsubscribe();
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
  await expect(server.cancellations()).resolves.toEqual([request!.id]);
  const [member, score] = await inspect.zrange(CANCELLED, '0', '-1', 'WITHSCORES');
  expect(member).toBe(request!.id);
  const stored = Number.parseInt(request!.entryId, 10);
  expect(Number(score)).toBeGreaterThan(stored + 20_000 - 500);
  expect(Number(score)).toBeLessThan(stored + 20_000 + 500);
  // It is its server's to settle.
  await expect(inspect.xlen(INBOX)).resolves.toBe(1);
});

test('one that was acknowledged on receipt runs all the same, and is cancelled', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const subscription = client.send('echo', 1).subscribe();
  const [request] = await server.take(1);
  await inspect.xack(INBOX, 'echo', request!.entryId);
  await inspect.xdel(INBOX, request!.entryId);
  subscription.unsubscribe();
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
  await expect(server.cancellations()).resolves.toEqual([request!.id]);
});

test('timeout(), takeUntil(), and take() or firstValueFrom() on several values cancel what they leave', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const stop = new Subject<void>();
  const timed = failureOf(firstValueFrom(client.send('timed', 1).pipe(timeout(100))));
  client.send('until', 1).pipe(takeUntil(stop)).subscribe();
  const first = firstValueFrom(client.send('first', 1));
  const taken = lastValueFrom(client.send('taken', 1).pipe(take(2), toArray()));
  const requests = await server.take(4);
  const idOf = (pattern: string): string => requests.find((request) => request.pattern === pattern)!.id;
  await expect(timed).resolves.toBeInstanceOf(TimeoutError);
  await eventually(async () => (await server.cancellations()).length === 1, 'the first announcement');
  stop.next();
  await server.reply(requests, ['first', 'n', 0, '"a"'], ['taken', 'n', 0, '"a"'], ['taken', 'n', 1, '"b"']);
  await expect(first).resolves.toBe('a');
  await expect(taken).resolves.toEqual(['a', 'b']);
  await eventually(async () => (await server.cancellations()).length === 4, 'all announcements');
  expect((await server.cancellations()).sort()).toEqual(requests.map(({ id }) => id).sort());
  expect((await server.cancellations())[0]).toBe(idOf('timed'));
  await expect(inspect.zcard(CANCELLED)).resolves.toBe(4);
});

test('a request that ends by our own timeout is deleted where it was not delivered, and nobody is told of others', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  await client.connect();
  const soon = new RedisStreamsRecordBuilder(1).setTimeout(150).build();
  const delivered = failureOf(firstValueFrom(client.send('delivered', soon)));
  await server.take(1);
  const undelivered = Array.from({ length: 10 }, () => failureOf(firstValueFrom(client.send('waits', soon))));
  for (const error of await Promise.all([delivered, ...undelivered])) {
    expect(error).toBeInstanceOf(RequestTimeoutError);
  }
  await eventually(async () => (await inspect.xlen(INBOX)) === 1, 'only the delivered entry');
  expect((await entriesOf(inspect, INBOX)).map(({ pattern }) => pattern)).toEqual(['delivered']);
  await expect(inspect.exists(CANCELLED, CONTROL)).resolves.toBe(0);
});

test('a thousand of one turn go by few calls: the delivered are announced, the others deleted, those that stay stay', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  await client.connect();
  const leave = new Subject<void>();
  for (let i = 0; i < 1_000; i++) {
    client.send('leaves', i).pipe(takeUntil(leave)).subscribe();
  }
  const staying = Array.from({ length: 100 }, (_, i) => client.send('stays', i).subscribe());
  await server.waiting(1_100);
  const delivered = await server.take(300);
  await inspect.config('RESETSTAT');
  leave.next();
  await eventually(async () => (await server.cancellations()).length === 300, 'all announcements');
  await expect(server.cancellations()).resolves.toEqual(delivered.map(({ id }) => id));
  await expect(inspect.zcard(CANCELLED)).resolves.toBe(300);
  await expect(inspect.xlen(INBOX)).resolves.toBe(400);
  const left = (await entriesOf(inspect, INBOX)).filter(({ pattern }) => pattern === 'stays');
  expect(left).toHaveLength(100);
  const calls = await scriptRuns();
  expect(calls).toBeGreaterThanOrEqual(5);
  expect(calls).toBeLessThanOrEqual(10);
  expect(heldBy(client)).toEqual({ pending: 100, queued: 0 });
  for (const subscription of staying) {
    subscription.unsubscribe();
  }
});

test('close() cancels what is pending', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const delivered = failureOf(firstValueFrom(client.send('delivered', 1)));
  const [request] = await server.take(1);
  const waiting = failureOf(firstValueFrom(client.send('waits', 1)));
  await server.waiting(2);
  await client.close();
  // At once: close() has waited for it.
  await expect(server.cancellations()).resolves.toEqual([request!.id]);
  expect((await entriesOf(inspect, INBOX)).map(({ pattern }) => pattern)).toEqual(['delivered']);
  for (const error of await Promise.all([delivered, waiting])) {
    expect(error).toMatchObject({ code: 'CONNECTION_CLOSED' });
  }
});

test('an answer that is interrupted is cancelled: whoever gives it goes on for nobody', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const failure = failureOf(lastValueFrom(client.send('many', 1)));
  const requests = await server.take(1);
  await server.reply(requests, ['many', 'n', 3, '"d"']);
  await expect(failure).resolves.toMatchObject({ code: 'STREAM_INTERRUPTED' });
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
});

test('requests that have ended cancel nothing: not one command', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  await client.connect();
  await inspect.config('RESETSTAT');
  const work = [
    firstValueFrom(client.send('value', 1)),
    lastValueFrom(client.send('several', 1)),
    failureOf(firstValueFrom(client.send('error', 1))),
    lastValueFrom(client.send('empty', 1), { defaultValue: 'none' }),
  ];
  const requests = await server.take(4);
  await server.reply(
    requests,
    ['value', 'v', 0, '1'],
    ['several', 'n', 0, '1'],
    ['several', 'n', 1, '2'],
    ['several', 'c', 2, ''],
    ['error', 'e', 0, '"no"'],
    ['empty', 'c', 0, ''],
  );
  await expect(Promise.all(work)).resolves.toEqual([1, 2, 'no', 'none']);
  await client.close();
  // What wrote the four requests: one call, or more where their times left differ by a millisecond.
  await expect(successfulCalls('xadd')).resolves.toBe(5);
  for (const command of ['xrange', 'xdel', 'zadd']) {
    await expect(successfulCalls(command)).resolves.toBe(0);
  }
  await expect(inspect.exists(CANCELLED, CONTROL)).resolves.toBe(0);
});

test('cancellations that are long past are forgotten, the others are kept', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const [seconds] = await inspect.time();
  const now = Number(seconds) * 1_000;
  await inspect.zadd(CANCELLED, now - 3_600_000, 'old', now - 5_000, 'recent', now + 5_000, 'coming');
  const subscription = client.send('echo', 1).subscribe();
  const [request] = await server.take(1);
  subscription.unsubscribe();
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
  await expect(inspect.zrange(CANCELLED, '0', '-1')).resolves.toEqual(['recent', 'coming', request!.id]);
});

/** Whether Redis knew a script already, or answered NOSCRIPT to its digest first, makes no difference. */
async function scriptRuns(): Promise<number> {
  return (await successfulCalls('evalsha')) + (await successfulCalls('eval'));
}

async function successfulCalls(command: string): Promise<number> {
  const line = new RegExp(`cmdstat_${command}:calls=(\\d+),.*failed_calls=(\\d+)`);
  const [, calls, failed] = line.exec(await inspect.info('commandstats')) ?? [];
  return Number(calls ?? 0) - Number(failed ?? 0);
}
