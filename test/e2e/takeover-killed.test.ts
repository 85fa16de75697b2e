import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { closeAll, connect, inspect, onClose } from '../support/app.js';
import { CompiledScripts, type RunningScript } from '../support/child-process.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const LEASE = 600;
const INBOX = '{nest:0}:inbox:tasks';
const TOPIC = '{nest:0}:topic:task.event';

let scripts: CompiledScripts;
let redis: RedisServer;
let look: Redis;
beforeAll(async () => {
  scripts = await CompiledScripts.make();
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
});
afterEach(closeAll);
afterAll(async () => {
  await redis.stop();
  scripts.remove();
});

/** An instance in a process of its own, listening. */
async function instance(options: object = {}): Promise<RunningScript> {
  const settings = { connection: redis.url, service: 'tasks', lease: LEASE, ...options };
  const script = scripts.run('instance', JSON.stringify(settings));
  onClose(() => script.end('SIGKILL'));
  await script.says('listening');
  return script;
}

const client = () => connect({ connection: redis.url, service: 'tasks' });

/** How many entries are pending in a stream. */
async function pending(stream: string): Promise<number> {
  return ((await look.xpending(stream, 'tasks')) as [number])[0];
}

test('a request whose instance is killed is answered by another, and an event is handled by it', async () => {
  const victim = await instance();
  const asking = client();
  const answer = firstValueFrom(asking.send<string>('task', { name: 'asked', then: 'end', ms: 1_500 }));
  await lastValueFrom(asking.emit('task.event', { name: 'told', then: 'end', ms: 1_500 }));
  await victim.says('started asked');
  await victim.says('started told');
  const survivor = await instance();
  await victim.end('SIGKILL');
  const killed = performance.now();
  await survivor.says('started asked 2');
  await survivor.says('started told 2');
  expect(performance.now() - killed).toBeLessThan(LEASE * 3 + 1_000);
  await expect(answer).resolves.toMatch(/^asked by/);
  await eventually(
    async () => (await pending(INBOX)) + (await pending(TOPIC)) === 0,
    'nothing to be pending',
  );
  expect(await look.xlen(INBOX)).toBe(0);
});

test('a handler that runs ten times the lease is delivered once', async () => {
  const first = await instance();
  const second = await instance();
  const answer = firstValueFrom(client().send<string>('task', { name: 'long', then: 'end', ms: LEASE * 10 }));
  await expect(answer).resolves.toMatch(/^long by/);
  expect([first, second].map(({ output }) => output.split('started long').length - 1).sort()).toEqual([0, 1]);
});
