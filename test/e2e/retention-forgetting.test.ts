import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { INestMicroservice, LoggerService } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { lastValueFrom } from 'rxjs';
import type { RedisStreamsServer } from '../../lib/index.js';
import { closeAll, connect, inspect, Lines, serveModule } from '../support/app.js';
import { FOR_CLUSTERS, RedisServer } from '../support/redis-server.js';
import {
  callsOf,
  expectEmpty,
  FLOORS,
  listener,
  publish,
  range,
  reportsOf,
  settledUpTo,
  subscribeByHand,
  SUBSCRIPTIONS,
  TOPICS,
  topicOf,
} from '../support/retention.js';
import { eventually } from '../support/wait.js';

const TOPIC = topicOf('told');
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** The least that is allowed: what is not needed is looked for about each second. */
const SOON = 1_000;

let redis: RedisServer;
let look: Redis;
let lines: Lines;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
  lines = new Lines();
});
afterEach(closeAll);
afterAll(() => redis.stop());

function start(
  service: string,
  forgetAfter = SOON,
  logger: LoggerService = lines,
): Promise<{ app: INestMicroservice; server: RedisStreamsServer }> {
  return serveModule(
    { connection: redis.url, service, forgetAfter },
    { controllers: [listener('told', () => undefined)] },
    { logger },
  );
}

/** Waits until a service's instance has looked for what is not needed so many times more. */
async function rounds(count: number): Promise<void> {
  const before = await callsOf(look, 'sscan');
  await eventually(async () => (await callsOf(look, 'sscan')) >= before + count, `${count} rounds`, 10_000);
}

test('a service that was not seen for long enough holds nothing back any more, and that is reported', async () => {
  const { app } = await start('gone');
  await publish(look, 'told', 0);
  await expectEmpty(look, 'told');
  const lastSeen = Number((await look.hget(SUBSCRIPTIONS, 'gone told'))!.split(' ')[0]);
  await app.close();
  const { server } = await start('stays', DAY);
  const { server: other } = await start('other');
  const reports = [reportsOf(server, 'subscriptionForgotten'), reportsOf(other, 'subscriptionForgotten')];
  const ids = await publish(look, 'told', ...range(1, 6));
  await settledUpTo(look, 'told', 'stays', ids.at(-1)!);
  await expectEmpty(look, 'told', 10_000);
  // Once, by whoever did it.
  expect(reports.flat()).toEqual([{ service: 'gone', pattern: 'told', lastSeen: expect.any(Date) }]);
  expect(reports.flat()[0]!.lastSeen.getTime()).toBeGreaterThanOrEqual(lastSeen);
  expect(lines.with("Service 'gone' does not hold back events of 'told' any more")).toHaveLength(1);
  await expect(look.hexists(FLOORS, `${TOPIC} gone`)).resolves.toBe(0);
  expect((await look.hkeys(SUBSCRIPTIONS)).sort()).toEqual(['other told', 'stays told', 'version']);
});

test('whoever wants to be remembered for longer is, whatever others say of themselves', async () => {
  await subscribeByHand(look, 'patient', 'told', HOUR, DAY);
  await subscribeByHand(look, 'unsaid', 'told', HOUR);
  await start('hasty');
  await eventually(
    async () => (await look.hexists(SUBSCRIPTIONS, 'unsaid told')) === 0,
    'who said nothing to be forgotten',
  );
  const ids = await publish(look, 'told', ...range(0, 5));
  await settledUpTo(look, 'told', 'hasty', ids.at(-1)!);
  await rounds(2);
  await expect(look.hexists(SUBSCRIPTIONS, 'patient told')).resolves.toBe(1);
  await expect(look.xlen(TOPIC)).resolves.toBe(5);
});

test('a handler that was removed holds nothing back after an hour, though its service lives', async () => {
  await start('lives', 7 * DAY);
  await subscribeByHand(look, 'lives', 'removed', HOUR + 1_000, 7 * DAY);
  await subscribeByHand(look, 'lives', 'just removed', HOUR - 60_000, 7 * DAY);
  await subscribeByHand(look, 'down', 'removed', HOUR + 1_000, 7 * DAY);
  const { server } = await start('judge');
  const reports = reportsOf(server, 'subscriptionForgotten');
  await eventually(() => reports.length > 0, 'the report', 10_000);
  await rounds(2);
  expect(reports).toMatchObject([{ service: 'lives', pattern: 'removed' }]);
  expect((await look.hkeys(SUBSCRIPTIONS)).sort()).toEqual([
    'down removed',
    'judge told',
    'lives just removed',
    'lives told',
    'version',
  ]);
});

test('a service that says a word while it is being judged is not forgotten', async () => {
  let said = 0;
  // Whenever it is looked at, it seems to have been away for a day.
  const say = (): Promise<void> => subscribeByHand(look, 'slow', 'told', DAY - said++, SOON);
  await say();
  const { server } = await start('judge');
  const reports = reportsOf(server, 'subscriptionForgotten');
  const saying = setInterval(() => void say(), 50);
  await rounds(2);
  clearInterval(saying);
  expect(reports).toEqual([]);
  await eventually(() => reports.length === 1, 'it to be forgotten when it has fallen silent', 10_000);
});

test('living services are not forgotten by each other', async () => {
  const { server } = await start('a');
  const { server: other } = await start('b');
  const reports = [reportsOf(server, 'subscriptionForgotten'), reportsOf(other, 'subscriptionForgotten')];
  await rounds(6);
  expect(reports.flat()).toEqual([]);
});

test('a topic that nobody subscribes to is removed when its last event is old', async () => {
  const client = connect({ connection: redis.url });
  await lastValueFrom(client.emit('unread', 1));
  await lastValueFrom(client.emit('told', 1));
  await subscribeByHand(look, 'patient', 'wanted', 0, DAY);
  await lastValueFrom(client.emit('wanted', 1));
  await start('judge');
  await eventually(
    async () => (await look.exists(topicOf('unread'))) === 0,
    'the unread topic to be gone',
    10_000,
  );
  await rounds(2);
  expect((await look.smembers(TOPICS)).sort()).toEqual(['told', 'wanted']);
  await expect(look.xlen(topicOf('wanted'))).resolves.toBe(1);
  await expect(look.exists(TOPIC)).resolves.toBe(1);
  expect(lines.with("whose last event is old: 'unread'")).toHaveLength(1);
});

test('of one that is still written to, the old events go', async () => {
  const [seconds] = await look.time();
  const ago = (ms: number): string => `${Number(seconds) * 1000 - ms}-0`;
  await look.sadd(TOPICS, 'unread', 'without a stream');
  // Whole nodes of a hundred are removed.
  for (let i = 0; i < 250; i++) {
    await look.xadd(topicOf('unread'), ago(HOUR - i), 'pattern', 'unread', 'data', '1');
  }
  // From before there is somebody who could find it old as a whole.
  let n = 0;
  await publish(look, 'unread', n++);
  const writing = setInterval(() => void publish(look, 'unread', n++), 50);
  await start('judge', 60_000);
  await start('quick', SOON);
  await eventually(async () => (await look.xlen(topicOf('unread'))) < 150, 'old events to be gone', 10_000);
  await eventually(
    async () => (await look.sismember(TOPICS, 'without a stream')) === 0,
    'a pattern without a stream to be gone, once that was seen twice',
    10_000,
  );
  clearInterval(writing);
  await expect(look.sismember(TOPICS, 'unread')).resolves.toBe(1);
});

test.each([
  ['sscan', ''],
  ['srem', ' +sscan'],
])('where it may not (%s), a server leaves topics to others, and says so once', async (missing, more) => {
  const rule =
    'on >secret ~{nest:0}:* ~nest:replies:* -@all +hello +auth +ping +multi +exec +time +hsetnx +hgetall +hkeys ' +
    '+evalsha +eval +get +set +hget +hset +hdel +hincrby +pexpire +pttl +unlink +exists +zremrangebyscore ' +
    '+zrangebyscore +xadd +xack +xdel +xlen +xtrim +xinfo|groups +xinfo|stream +xrange +xrevrange +xpending ' +
    '+xclaim +xread +xreadgroup +xgroup|create +xgroup|delconsumer +info +client';
  await look.acl('SETUSER', 'narrow', 'reset', ...(rule + more).split(' '), ...FOR_CLUSTERS);
  await look.sadd(TOPICS, 'unread');
  await serveModule(
    { connection: `redis://narrow:secret@127.0.0.1:${redis.port}`, service: 'a', forgetAfter: SOON },
    { controllers: [listener('told', () => undefined)] },
    { logger: lines },
  );
  await look.acl('LOG', 'RESET');
  await publish(look, 'told', ...range(0, 5));
  await expectEmpty(look, 'told');
  await eventually(() => lines.with('may not remove topics').length > 0, 'the line', 10_000);
  const before = await callsOf(look, 'hgetall');
  await eventually(async () => (await callsOf(look, 'hgetall')) >= before + 2, 'two more rounds', 10_000);
  expect(lines.with('may not remove topics')).toHaveLength(1);
  const denied = (await look.acl('LOG')) as unknown[][];
  const field = (entry: unknown[], name: string): unknown => entry[entry.indexOf(name) + 1];
  expect(denied.map((entry) => [field(entry, 'object'), field(entry, 'count')])).toEqual([[missing, 1]]);
});
