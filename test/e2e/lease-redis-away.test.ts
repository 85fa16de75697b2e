import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { RedisStreamsContext } from '../../lib/index.js';
import { closeAll, serve } from '../support/app.js';
import { Proxy } from '../support/proxy.js';
import { RedisServer } from '../support/redis-server.js';
import { Caller, TaskKeys, tell } from '../support/tasks.js';
import { deferred, eventually } from '../support/wait.js';

const LEASE = 600;
/** How many instances there are, and messages of each kind: more than one instance takes. */
const INSTANCES = 3;
const MESSAGES = 6;

let ran: string[] = [];
let aborted: string[] = [];
/** What the handlers wait for, those of messages with even numbers and those with odd ones. */
let released = [deferred(), deferred()];

async function handle(name: string, { signal, deliveryCount }: RedisStreamsContext): Promise<string> {
  ran.push(`${name} ${deliveryCount}`);
  signal.addEventListener('abort', () => aborted.push(name));
  await released[Number(name.at(-1)) % 2]!.promise;
  return name;
}

@Controller()
class TaskController {
  @MessagePattern('task')
  request(@Payload() { name }: { name: string }, @Ctx() context: RedisStreamsContext): Promise<string> {
    return handle(name, context);
  }
  @EventPattern<string>('task.event')
  async event(@Payload() { name }: { name: string }, @Ctx() context: RedisStreamsContext): Promise<void> {
    await handle(name, context);
  }
}

let redis: RedisServer;
let keys: TaskKeys;
let caller: Caller;
let reports: string[] = [];
/** In front of one of the instances. */
let proxy: Proxy;
let asked: Map<string, string>;
beforeAll(async () => {
  redis = await RedisServer.start('--appendonly', 'yes', '--appendfsync', 'always');
});
beforeEach(async () => {
  ran = [];
  aborted = [];
  reports = [];
  released = [deferred(), deferred()];
  keys = await TaskKeys.empty(redis.url);
  caller = await Caller.make(keys.redis);
  proxy = await Proxy.start(redis.port);
  await Promise.all([serveTasks(proxy.url), ...Array.from({ length: INSTANCES - 1 }, () => serveTasks())]);
  asked = new Map();
  for (let i = 0; i < MESSAGES; i++) {
    asked.set(`asked${i}`, await caller.ask({ name: `asked${i}`, then: 'end' }));
    await tell(keys.redis, { name: `told${i}`, then: 'end' });
  }
  await eventually(() => ran.length === 2 * MESSAGES, 'all handlers to run');
});
afterEach(async () => {
  await closeAll();
  await proxy.stop();
});
afterAll(() => redis.stop());

async function serveTasks(connection = redis.url): Promise<void> {
  const options = {
    connection,
    service: 'tasks',
    lease: LEASE,
    concurrency: 2,
    eventConcurrency: 2,
  };
  const { server } = await serve(options, TaskController);
  for (const name of ['takenOver', 'instanceDied', 'fenced'] as const) {
    server.hooks.on(name, (report) => reports.push(`${name} ${JSON.stringify(report)}`));
  }
}

/** Lets some leases pass. */
async function leases(count: number): Promise<void> {
  const since = performance.now();
  await eventually(() => performance.now() - since > count * LEASE, `${count} leases to pass`);
}

/** Nobody looked dead: every message ran once, and every request has one answer. */
async function expectOnce(): Promise<void> {
  for (const [name, id] of asked) {
    await expect(caller.answer(id, 10_000)).resolves.toEqual({ kind: 'v', payload: name });
  }
  await keys.settled(10_000);
  for (const [, id] of asked) {
    await expect(caller.answers(id)).resolves.toHaveLength(1);
  }
  expect(ran).toHaveLength(2 * MESSAGES);
  expect(ran.every((run) => run.endsWith(' 1'))).toBe(true);
  expect(aborted).toEqual([]);
  expect(reports).toEqual([]);
}

test.each<[string, { go: () => unknown; comeBack: () => unknown }]>([
  [
    'stood still',
    {
      go: () => {
        process.kill(redis.pid, 'SIGSTOP');
        proxy.hold('to-redis');
      },
      // The others are heard of before this one, whose lease has run out by then as theirs had.
      comeBack: async () => {
        process.kill(redis.pid, 'SIGCONT');
        await leases(0.6);
        proxy.letGo();
      },
    },
  ],
  [
    'was killed, and is started again from its append-only file',
    { go: () => redis.kill(), comeBack: () => redis.start() },
  ],
])('a Redis that %s after three leases makes nobody look dead', async (_, { go, comeBack }) => {
  await go();
  await leases(1);
  released[0]!.resolve();
  await leases(2);
  await comeBack();
  await leases(4);
  released[1]!.resolve();
  await expectOnce();
});

test('a Redis that is out of memory makes nobody look dead, fences nobody, and gets every answer when it has memory again', async () => {
  const instances = await keys.instances();
  expect(instances).toHaveLength(INSTANCES);
  await keys.redis.config('SET', 'maxmemory', '1');
  await expect(caller.ask({ name: 'refused', then: 'end' })).rejects.toThrow('OOM');
  released[0]!.resolve();
  await leases(4);
  await expect(keys.redis.exists(...instances.map((instance) => keys.lease(instance)))).resolves.toBe(
    INSTANCES,
  );
  await keys.redis.config('SET', 'maxmemory', '0');
  await leases(2);
  released[1]!.resolve();
  await expectOnce();
});
