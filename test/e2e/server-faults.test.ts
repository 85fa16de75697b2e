import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import type { RedisStreamsClient } from '../../lib/index.js';
import { closeAll, connect } from '../support/app.js';
import type { RunningScript } from '../support/child-process.js';
import { Proxy } from '../support/proxy.js';
import { count, TaskKeys, TaskService } from '../support/tasks.js';
import { eventually } from '../support/wait.js';

const LEASE = 1_000;
const TIMEOUT = 6_000;
const FAULT_MS = 1_500;
/** One of each kind so often. */
const EVERY_MS = 20;

let service: TaskService;
let keys: TaskKeys;
let proxy: Proxy;
let instances: RunningScript[];
beforeAll(async () => {
  Logger.overrideLogger(false);
  service = await TaskService.make();
});
beforeEach(async () => {
  keys = await TaskKeys.empty(service.redis.url);
  proxy = await Proxy.start(service.redis.port);
  instances = await Promise.all([1, 2].map(() => service.instance({ lease: LEASE, connection: proxy.url })));
});
afterEach(async () => {
  await closeAll();
  await proxy.stop();
});
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await service.remove();
});

/** What became of what was sent. */
interface Account {
  answered: number;
  /** Errors of requests, by their codes. */
  refused: string[];
  /** Names of the events that were published. */
  published: string[];
  /** The longest that anybody waited, in ms. */
  slowest: number;
}

/** Sends requests and events steadily while `work` goes on, and a little longer; resolves when all of them have ended. */
async function under(client: RedisStreamsClient, work: () => Promise<unknown>): Promise<Account> {
  const account: Account = { answered: 0, refused: [], published: [], slowest: 0 };
  const sent: Promise<void>[] = [];
  let next = 0;
  const sendOne = async (): Promise<void> => {
    const name = `n${next++}.`;
    const since = performance.now();
    const request = firstValueFrom(client.send<string>('task', { name, then: 'end' })).then(
      () => void account.answered++,
      (error: { code?: string }) => void account.refused.push(error.code ?? String(error)),
    );
    const event = lastValueFrom(client.emit('task.event', { name: `e${name}`, then: 'end' })).then(
      () => void account.published.push(name),
      () => undefined,
    );
    await Promise.all([request, event]);
    account.slowest = Math.max(account.slowest, performance.now() - since);
  };
  const timer = setInterval(() => sent.push(sendOne()), EVERY_MS);
  try {
    await work();
    const since = performance.now();
    await eventually(() => performance.now() - since > 500, 'things to go on for a while');
  } finally {
    clearInterval(timer);
  }
  await Promise.all(sent);
  return account;
}

async function lasting(ms: number): Promise<void> {
  const since = performance.now();
  await eventually(() => performance.now() - since > ms, 'the fault to last', ms + 1_000);
}

test.each<[string, string[], () => Promise<unknown>]>([
  [
    'all connections killed again and again',
    // One whose XADD was under way is not written again, since it may have arrived.
    ['REQUEST_TIMEOUT'],
    async () => {
      for (let i = 0; i < 5; i++) {
        await keys.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        await lasting(FAULT_MS / 5);
      }
    },
  ],
  [
    'Redis paused',
    [],
    async () => {
      await keys.redis.call('CLIENT', 'PAUSE', String(FAULT_MS), 'ALL');
      await lasting(FAULT_MS);
    },
  ],
  [
    'a latency of 200 ms',
    [],
    async () => {
      proxy.delay(100);
      await lasting(FAULT_MS);
    },
  ],
  [
    'Redis a replica for a while',
    ['PUBLISH_REFUSED'],
    async () => {
      await keys.redis.call('REPLICAOF', '127.0.0.1', '1');
      await lasting(FAULT_MS);
      await keys.redis.call('REPLICAOF', 'NO', 'ONE');
    },
  ],
])(
  'with %s, every event that was published is handled, and every request ends',
  async (_, mayBe, fault) => {
    const client = connect({ connection: service.redis.url, service: 'tasks', timeout: TIMEOUT });
    await client.connect();
    const { answered, refused, published, slowest } = await under(client, fault);
    expect(answered).toBeGreaterThan(0);
    expect(refused.filter((code) => !mayBe.includes(code))).toEqual([]);
    expect(slowest).toBeLessThan(TIMEOUT + 1_000);
    const output = (): string => instances.map((instance) => instance.output).join('');
    await eventually(
      () => published.every((name) => output().includes(`ended e${name}\n`)),
      'all events to be handled',
      10_000,
    );
    await keys.settled(10_000);
    // None has ended of an error that nobody caught, and none looked dead.
    expect(instances.map(({ hasEnded }) => hasEnded)).toEqual([false, false]);
    expect(count(output(), 'hook instanceDied')).toBe(0);
  },
  40_000,
);

test('a Redis that was restarted empty is used again by all, without spinning', async () => {
  const client = connect({ connection: service.redis.url, service: 'tasks', timeout: TIMEOUT });
  await client.connect();
  const { slowest } = await under(client, async () => {
    await service.redis.kill();
    await lasting(500);
    await service.redis.start();
    await client.connect();
    await lasting(FAULT_MS);
  });
  expect(slowest).toBeLessThan(TIMEOUT + 1_000);
  await expect(firstValueFrom(client.send<string>('task', { name: 'after', then: 'end' }))).resolves.toMatch(
    /^after by/,
  );
  await lastValueFrom(client.emit('task.event', { name: 'told after', then: 'end' }));
  await eventually(() => instances.some(({ output }) => output.includes('ended told after')), 'the event');
  await keys.settled();
  const registered = await keys.instances();
  expect(registered).toHaveLength(2);
  await expect(keys.redis.exists(...registered.map((name) => keys.lease(name)))).resolves.toBe(2);
  await keys.redis.config('RESETSTAT');
  await lasting(1_000);
  const stats = await keys.redis.info('commandstats');
  const calls = [...stats.matchAll(/calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
  expect(calls).toBeLessThan(120);
  expect(instances.map(({ hasEnded }) => hasEnded)).toEqual([false, false]);
}, 40_000);
