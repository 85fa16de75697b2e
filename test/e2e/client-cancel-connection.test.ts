import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { RedisStreamsRecordBuilder } from '../../lib/index.js';
import type { RedisStreamsClient, RedisStreamsClientOptions } from '../../lib/index.js';
import { closeAll, connect, Lines } from '../support/app.js';
import { entriesOf, heldBy, inspector, routed } from '../support/counting.js';
import { CANCELLED, CONTROL, HandServer, INBOX } from '../support/hand-server.js';
import { Proxy } from '../support/proxy.js';
import { FOR_CLUSTERS, RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
let proxy: Proxy;
let server: HandServer;
let lines: Lines;
beforeAll(async () => {
  // ioredis itself says so, once for each connection, when INFO is not allowed.
  jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  lines = new Lines();
  Logger.overrideLogger(lines);
  await inspect.flushall();
  proxy = await Proxy.start(redis.port);
  server = await HandServer.start(inspect);
});
afterEach(async () => {
  await closeAll();
  await proxy.stop();
});
afterAll(async () => {
  jest.restoreAllMocks();
  Logger.overrideLogger(['log', 'warn', 'error']);
  inspect.disconnect();
  await redis.stop();
});

/** A client whose commands go through the proxy, and its replies around it. */
async function connectByProxy(options: RedisStreamsClientOptions = {}): Promise<RedisStreamsClient> {
  const client = connect({
    connection: routed(['commands'], proxy.port, redis.port),
    service: 'echo',
    ...options,
  });
  await client.connect();
  return client;
}

function next(client: RedisStreamsClient, event: 'ready' | 'reconnecting'): Promise<void> {
  const happened = deferred();
  client.on(event, () => happened.resolve());
  return happened.promise;
}

/** What is kept of requests that were left. */
function keptBy(client: RedisStreamsClient): { inDoubt: number; waiting: number } {
  const { cancellations } = (
    client as unknown as {
      session: { publishers: [{ cancellations: { inDoubt: Set<unknown>; waiting: unknown[] } }] };
    }
  ).session.publishers[0];
  return { inDoubt: cancellations.inDoubt.size, waiting: cancellations.waiting.length };
}

test('what is left before Redis has confirmed it is deleted as soon as it has, and close() waits for that', async () => {
  const client = await connectByProxy();
  proxy.delay(100);
  const some = Array.from({ length: 10 }, () => client.send('some', 1).subscribe());
  await server.waiting(10);
  for (const subscription of some) {
    subscription.unsubscribe();
  }
  expect(keptBy(client)).toEqual({ inDoubt: 10, waiting: 0 });
  await eventually(async () => (await inspect.xlen(INBOX)) === 0, 'the entries to be deleted');
  const last = firstValueFrom(client.send('last', 1)).catch((error: unknown) => error);
  await server.waiting(1);
  await client.close();
  await expect(last).resolves.toMatchObject({ code: 'CONNECTION_CLOSED' });
  await expect(inspect.xlen(INBOX)).resolves.toBe(0);
  await expect(inspect.exists(CANCELLED, CONTROL)).resolves.toBe(0);
});

test('a request whose XADD was not answered is put down as cancelled, wherever it may be', async () => {
  const client = await connectByProxy();
  const lost = next(client, 'reconnecting');
  // Its XADD arrives, and its answer does not.
  proxy.cutAfter('to-client', 0);
  const subscription = client.send('echo', 1).subscribe();
  await server.waiting(1);
  await lost;
  await next(client, 'ready');
  expect(heldBy(client).pending).toBe(1);
  subscription.unsubscribe();
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
  const [entry] = await entriesOf(inspect, INBOX);
  await expect(server.cancellations()).resolves.toEqual([entry!['id']]);
  await expect(inspect.zrange(CANCELLED, '0', '-1')).resolves.toEqual([entry!['id']]);
});

test('one that was left before its connection was lost is cancelled when Redis is back', async () => {
  const client = await connectByProxy();
  const lost = next(client, 'reconnecting');
  proxy.cutAfter('to-client', 0);
  const subscription = client.send('echo', 1).subscribe();
  await server.waiting(1);
  subscription.unsubscribe();
  await lost;
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
  expect(keptBy(client)).toEqual({ inDoubt: 0, waiting: 0 });
});

test('a cancellation that was lost with its connection is sent again', async () => {
  const client = await connectByProxy();
  const subscription = client.send('echo', 1).subscribe();
  const [request] = await server.take(1);
  const lost = next(client, 'reconnecting');
  proxy.cutAfter('to-redis', 10);
  subscription.unsubscribe();
  await lost;
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
  await expect(server.cancellations()).resolves.toEqual([request!.id]);
});

test('of a request that may have arrived and that has timed out nothing is said: it ends by itself', async () => {
  const client = await connectByProxy({ timeout: 300 });
  const lost = next(client, 'reconnecting');
  proxy.cutAfter('to-client', 0);
  const failed = firstValueFrom(client.send('echo', 1)).catch((error: unknown) => error);
  await server.waiting(1);
  await lost;
  await inspect.config('RESETSTAT');
  await expect(failed).resolves.toMatchObject({ code: 'REQUEST_TIMEOUT', wasSent: true });
  await client.close();
  expect(await inspect.info('commandstats')).not.toMatch(/cmdstat_eval/);
});

test('what is left while Redis is away is cancelled when it is back, unless its time is up by then', async () => {
  const client = await connectByProxy({ timeout: 60_000 });
  const long = Array.from({ length: 50 }, () => client.send('long', 1).subscribe());
  await server.waiting(50);
  const [request] = await server.take(1);
  const record = new RedisStreamsRecordBuilder(1).setTimeout(500).build();
  const short = client.send('short', record).subscribe();
  await server.waiting(51);
  const isOver = performance.now() + 500;
  await server.take(50);
  const lost = next(client, 'reconnecting');
  const back = next(client, 'ready');
  proxy.refuse();
  await lost;
  for (const subscription of [...long, short]) {
    subscription.unsubscribe();
  }
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
  expect(keptBy(client)).toEqual({ inDoubt: 0, waiting: 51 });
  await eventually(() => performance.now() > isOver, 'the short one to be over');
  proxy.allow();
  await back;
  await eventually(async () => (await server.cancellations()).length === 50, 'the announcements');
  const announced = await server.cancellations();
  expect(announced[0]).toBe(request!.id);
  const left = (await entriesOf(inspect, INBOX)).find(({ pattern }) => pattern === 'short');
  expect(announced).not.toContain(left!['id']);
  expect(keptBy(client)).toEqual({ inDoubt: 0, waiting: 0 });
});

test('no more than 10,000 are kept for a Redis that is away, and none once the client is closed, at once', async () => {
  const client = await connectByProxy({ timeout: 60_000 });
  const subscriptions = Array.from({ length: 10_500 }, () => client.send('echo', 1).subscribe());
  await server.waiting(10_500);
  const lost = next(client, 'reconnecting');
  proxy.refuse();
  await lost;
  for (const subscription of subscriptions) {
    subscription.unsubscribe();
  }
  // Some may have been written whose answers the client had not taken yet.
  await eventually(() => keptBy(client).inDoubt === 0, 'nothing to be in doubt');
  expect(keptBy(client)).toEqual({ inDoubt: 0, waiting: 10_000 });
  const before = performance.now();
  await client.close();
  expect(performance.now() - before).toBeLessThan(1_900);
  expect(keptBy(client)).toEqual({ inDoubt: 0, waiting: 0 });
});

test('close() waits no longer than its grace for a Redis that does not answer', async () => {
  const client = await connectByProxy();
  const failed = firstValueFrom(client.send('echo', 1)).catch((error: unknown) => error);
  await server.waiting(1);
  proxy.freeze();
  const before = performance.now();
  await client.close();
  expect(performance.now() - before).toBeLessThan(3_500);
  await expect(failed).resolves.toMatchObject({ code: 'CONNECTION_CLOSED' });
});

/** What a client needs; see docs/configuration.md. */
const LEAST =
  'on >secret ~{nest:0}:* ~nest:replies:* -@all +multi +exec +hsetnx +hgetall +time +pexpire +xgroup|create ' +
  '+xgroup|destroy +xread +xtrim +xadd +xlen +sismember +sadd';
const SCRIPTS = '+evalsha +eval +script|load';
/** What cancelling needs besides. */
const CANCELLING = '+xinfo|groups +xrange +xdel +zadd +zremrangebyscore';

async function connectWith(rules: string): Promise<RedisStreamsClient> {
  await inspect.acl('SETUSER', 'sender', 'reset', ...rules.split(' '), ...FOR_CLUSTERS);
  const client = connect({ connection: `redis://sender:secret@127.0.0.1:${redis.port}`, service: 'echo' });
  await client.connect();
  return client;
}

async function sendAndLeave(client: RedisStreamsClient, count: number): Promise<void> {
  const subscriptions = Array.from({ length: count }, () => client.send('echo', 1).subscribe());
  const before = await inspect.xlen(INBOX);
  await server.waiting(before + count);
  for (const subscription of subscriptions) {
    subscription.unsubscribe();
  }
}

test('the rights that docs/configuration.md names are enough to cancel', async () => {
  const client = await connectWith(`${LEAST} ${SCRIPTS} ${CANCELLING}`);
  const subscription = client.send('echo', 1).subscribe();
  await server.take(1);
  subscription.unsubscribe();
  await sendAndLeave(client, 2);
  await eventually(async () => (await inspect.xlen(INBOX)) === 1, 'what was not delivered to be deleted');
  await eventually(async () => (await server.cancellations()).length === 1, 'the announcement');
  expect(lines.with('cancelled')).toEqual([]);
});

test('without scripts nothing is cancelled and nothing fails; that is said once and not tried again', async () => {
  const client = await connectWith(LEAST);
  await sendAndLeave(client, 2);
  await eventually(() => lines.with('could not be cancelled').length === 1, 'a line that says so');
  expect(lines.with('could not be cancelled')[0]).toMatch(
    /^warn: Requests could not be cancelled \(2\) and end at their deadlines: NOPERM/,
  );
  await inspect.config('RESETSTAT');
  await sendAndLeave(client, 3);
  await client.close();
  expect(await inspect.info('commandstats')).not.toMatch(/cmdstat_eval/);
  expect(lines.with('could not be cancelled')).toHaveLength(1);
  expect(keptBy(client)).toEqual({ inDoubt: 0, waiting: 0 });
  await expect(inspect.xlen(INBOX)).resolves.toBe(5);
});

test.each([
  [
    'the keys',
    `${LEAST.replace('~{nest:0}:*', '~{nest:0}:inbox:* ~{nest:0}:layout')} ${SCRIPTS} ${CANCELLING}`,
  ],
  ['the commands', `${LEAST} ${SCRIPTS}`],
  ['one of the commands', `${LEAST} ${SCRIPTS} ${CANCELLING.replace('+xinfo|groups ', '')}`],
])('without the right to %s of the script nothing fails, and a burst is one line', async (_, rules) => {
  const client = await connectWith(rules);
  for (let i = 0; i < 5; i++) {
    await sendAndLeave(client, 2);
  }
  await eventually(() => lines.with('could not be cancelled').length === 1, 'a line that says so');
  await expect(inspect.xlen(INBOX)).resolves.toBe(10);
  await expect(inspect.exists(CANCELLED, CONTROL)).resolves.toBe(0);
  await client.close();
  // The rest of the burst as a number.
  expect(lines.with('cancelled').length).toBeLessThanOrEqual(2);
});
