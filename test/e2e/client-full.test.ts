import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { StreamFullError, type RedisStreamsReports } from '../../lib/index.js';
import type { RedisStreamsClient, RedisStreamsClientOptions } from '../../lib/index.js';
import { closeAll, connect, Lines, onClose } from '../support/app.js';
import { entriesOf, inspector } from '../support/counting.js';
import { FOR_CLUSTERS, RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const TOPIC = '{nest:0}:topic:noted';
const SUBSCRIPTIONS = '{nest:0}:subscriptions';

let redis: RedisServer;
let inspect: Redis;
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
});
afterEach(closeAll);
afterAll(async () => {
  jest.restoreAllMocks();
  Logger.overrideLogger(['log', 'warn', 'error']);
  inspect.disconnect();
  await redis.stop();
});

/** A service that reads one event every 20 ms, by hand. */
async function readSlowly(): Promise<void> {
  await inspect.xgroup('CREATE', TOPIC, 'slow', '0', 'MKSTREAM');
  const timer = setInterval(() => {
    inspect
      .xreadgroup('GROUP', 'slow', 'by-hand', 'COUNT', 1, 'NOACK', 'STREAMS', TOPIC, '>')
      .catch(() => undefined);
  }, 20);
  onClose(() => clearInterval(timer));
}

/** A client that keeps what it reports of lost entries. */
async function publisher(
  options: RedisStreamsClientOptions,
): Promise<{ client: RedisStreamsClient; lost: RedisStreamsReports['entriesLost'][] }> {
  const client = connect({ connection: redis.url, ...options });
  const lost: RedisStreamsReports['entriesLost'][] = [];
  client.hooks.on('entriesLost', (report) => lost.push(report));
  await client.connect();
  return { client, lost };
}

/** Publishes numbers from `from`, by `batch` in a turn, until `done`; resolves to how many there were. */
async function flood(
  client: RedisStreamsClient,
  batch: number,
  done: () => boolean | Promise<boolean>,
): Promise<number> {
  let published = 0;
  await eventually(
    async () => {
      await Promise.all(
        Array.from({ length: batch }, () => lastValueFrom(client.emit('noted', published++))),
      );
      return done();
    },
    'enough to be published',
    15_000,
  );
  return published;
}

function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'it did not fail',
    (error: unknown) => error,
  );
}

test.each([
  ['one by one', 1],
  ['many in a turn', 50],
])(
  "'drop-oldest' cuts what a slow service has not read, keeps the newest, and reports all of it: %s",
  async (_, batch) => {
    await readSlowly();
    const { client, lost } = await publisher({ maxLength: 100, whenFull: 'drop-oldest' });
    const published = await flood(client, batch, () => lost.length >= 2);
    const dropped = lost.reduce((sum, { count }) => sum + count, 0);
    for (const report of lost) {
      expect(report).toMatchObject({ stream: TOPIC, reason: 'drop-oldest' });
    }
    const kept = (await entriesOf(inspect, TOPIC)).map(({ data }) => Number(data));
    expect(kept.length + dropped).toBe(published);
    expect(kept.length).toBeGreaterThanOrEqual(100);
    // The newest, without a gap.
    expect(kept).toEqual(Array.from({ length: kept.length }, (_n, i) => dropped + i));
    // The second falls into the burst of the first.
    expect(lines.with('entries of the full stream')).toHaveLength(1);
    expect(lines.with('entries of the full stream')[0]).toMatch(/^warn: The oldest \d+ entries of the full/);
  },
);

test('room is made about once a second, however much is published', async () => {
  await inspect.xgroup('CREATE', TOPIC, 'down', '0', 'MKSTREAM');
  const { client, lost } = await publisher({ maxLength: 10, whenFull: 'drop-oldest' });
  await flood(client, 100, () => lost.length >= 1);
  await inspect.config('RESETSTAT');
  const until = performance.now() + 2_000;
  await flood(client, 100, () => performance.now() > until);
  const trims = Number(/cmdstat_xtrim:calls=(\d+)/.exec(await inspect.info('commandstats'))?.[1]);
  // Those of the reply stream are not among them: nothing is asked.
  expect(trims).toBeGreaterThanOrEqual(1);
  expect(trims).toBeLessThanOrEqual(3);
});

test("'drop-oldest' cuts requests, too", async () => {
  const inbox = '{nest:0}:inbox:down';
  const { client, lost } = await publisher({ service: 'down', maxLength: 5, whenFull: 'drop-oldest' });
  for (let i = 0; i < 5; i++) {
    await inspect.xadd(inbox, '*', 'pattern', 'early', 'data', String(i));
  }
  const subscriptions = [client.send('late', 1).subscribe(), client.send('late', 2).subscribe()];
  await eventually(() => {
    subscriptions.push(client.send('late', 3).subscribe());
    return lost.length > 0;
  }, 'a cut');
  expect(lost[0]).toMatchObject({ stream: inbox, reason: 'drop-oldest' });
  expect((await entriesOf(inspect, inbox)).map(({ data }) => data)).not.toContain('0');
  for (const subscription of subscriptions) {
    subscription.unsubscribe();
  }
});

test.each(['fail', 'drop-oldest'] as const)(
  'a full topic that nobody subscribes to is cut and not reported, with %p',
  async (whenFull) => {
    await inspect.hset(SUBSCRIPTIONS, 'version', 3, 'audit noted.too', 1, 'noted other', 1, 'audit other', 1);
    const { client, lost } = await publisher({ maxLength: 20, whenFull });
    let longest = 0;
    const published = await flood(client, 10, async () => {
      const length = await inspect.xlen(TOPIC);
      const wasCut = length < longest;
      longest = Math.max(longest, length);
      return wasCut;
    });
    const kept = (await entriesOf(inspect, TOPIC)).map(({ data }) => Number(data));
    expect(kept.at(-1)).toBe(published - 1);
    expect(kept).toEqual(Array.from({ length: kept.length }, (_n, i) => published - kept.length + i));
    expect(lost).toEqual([]);
    expect(lines.with('full stream')).toEqual([]);
  },
);

test.each([
  ['has a group', (): Promise<unknown> => inspect.xgroup('CREATE', TOPIC, 'down', '0', 'MKSTREAM')],
  ['is subscribed to, and has no group yet', () => inspect.hset(SUBSCRIPTIONS, 'down noted', 1)],
])('a full topic that %s is not cut, and refuses events', async (_, prepare) => {
  await prepare();
  const { client, lost } = await publisher({ maxLength: 20 });
  const stored: number[] = [];
  let refused: unknown;
  await eventually(async () => {
    const n = stored.length;
    refused = await failureOf(lastValueFrom(client.emit('noted', n)));
    if (refused instanceof StreamFullError) {
      return true;
    }
    stored.push(n);
    return false;
  }, 'a StreamFullError');
  expect(refused).toMatchObject({ code: 'STREAM_FULL', stream: TOPIC, maxLength: 20 });
  expect((await entriesOf(inspect, TOPIC)).map(({ data }) => Number(data))).toEqual(stored);
  expect(lost).toEqual([]);
  // While it is full, room is asked for about once a second and not for each event.
  await inspect.config('RESETSTAT');
  await Promise.all(Array.from({ length: 100 }, () => failureOf(lastValueFrom(client.emit('noted', 0)))));
  const calls = Number(/cmdstat_evalsha:calls=(\d+)/.exec(await inspect.info('commandstats'))?.[1] ?? 0);
  expect(calls).toBeLessThanOrEqual(1);
});

test('events keep their order while room is made', async () => {
  const { client } = await publisher({ maxLength: 50 });
  let published = 0;
  const work: Promise<unknown>[] = [];
  const until = performance.now() + 2_500;
  await eventually(() => {
    for (let i = 0; i < 20; i++) {
      work.push(lastValueFrom(client.emit('noted', published++)));
    }
    return performance.now() > until;
  }, 'two and a half seconds');
  await Promise.all(work);
  const kept = (await entriesOf(inspect, TOPIC)).map(({ data }) => Number(data));
  expect(kept).toEqual(Array.from({ length: kept.length }, (_n, i) => published - kept.length + i));
});

/** What a client needs; see docs/configuration.md. */
const LEAST =
  'on >secret ~{nest:0}:* ~nest:replies:* -@all +multi +exec +hsetnx +hgetall +time +pexpire +xgroup|create ' +
  '+xgroup|destroy +xread +xtrim +xadd +xlen +sismember +sadd';

test.each([
  ['scripts', LEAST],
  ['the subscriptions', `${LEAST} +evalsha +eval +script|load +xinfo|groups`],
])("without the right to %s 'drop-oldest' cuts all the same, and 'fail' refuses", async (_, rules) => {
  await inspect.acl('SETUSER', 'sender', 'reset', ...rules.split(' '), ...FOR_CLUSTERS);
  const connection = `redis://sender:secret@127.0.0.1:${redis.port}`;
  for (let i = 0; i < 20; i++) {
    await inspect.xadd(TOPIC, '*', 'pattern', 'noted', 'data', String(i));
  }
  const failing = await publisher({ connection, maxLength: 20 });
  await eventually(
    async () => (await failureOf(lastValueFrom(failing.client.emit('noted', 1)))) instanceof StreamFullError,
    'a StreamFullError',
  );
  const dropping = await publisher({ connection, maxLength: 20, whenFull: 'drop-oldest' });
  await flood(dropping.client, 5, () => dropping.lost.length > 0);
  expect(dropping.lost[0]).toMatchObject({ stream: TOPIC, reason: 'drop-oldest' });
});

test('the connection is reported: connected, lost and connected again, and a listener that fails harms nobody', async () => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const reports: unknown[] = [];
  client.hooks.on('connected', () => {
    throw new Error('of the listener');
  });
  client.hooks.on('connected', (report) => reports.push(['connected', report]));
  client.hooks.on('lost', (report) => reports.push(['lost', report]));
  await client.connect();
  const address = `127.0.0.1:${redis.port}`;
  expect(reports).toEqual([['connected', { address }]]);
  await inspect.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await eventually(() => reports.length === 3, 'three reports');
  expect(reports[1]).toEqual(['lost', { address, reason: expect.any(String) }]);
  expect(reports[2]).toEqual(['connected', { address }]);
  expect(lines.with("A listener of 'connected' failed: Error: of the listener")).toHaveLength(1);
  const pending = firstValueFrom(client.send('echo', 1)).catch((error: unknown) => error);
  await client.close();
  await expect(pending).resolves.toBeInstanceOf(Error);
  // Closed on purpose is not lost.
  expect(reports).toHaveLength(3);
});
