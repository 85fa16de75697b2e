import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { RedisStreamsDeadLetters } from '../../../lib/index.js';
import { closeAll, connect, onClose } from '../../support/app.js';
import { topicKey } from '../../support/shards.js';
import { count, TaskKeys, TaskService, type Task } from '../../support/tasks.js';
import { eventually } from '../../support/wait.js';

const SHARDS = 3;
const LEASE = 600;
const EVERY_SHARD = [0, 1, 2];
const TOPIC = topicKey('task.event', 'nest', SHARDS);
const inbox = (shard: number): string => `{nest:${shard}}:inbox:tasks`;

let service: TaskService;
let keys: TaskKeys;
beforeAll(async () => {
  service = await TaskService.make();
});
beforeEach(async () => {
  keys = await TaskKeys.empty(service.redis.url);
});
afterEach(closeAll);
afterAll(() => service.remove());

const instance = (options = {}) => service.instance({ shards: SHARDS, lease: LEASE, ...options });

const caller = () => connect({ connection: service.redis.url, service: 'tasks', shards: SHARDS });

async function nothingPending(withinMs = 5_000): Promise<void> {
  await eventually(
    async () => {
      const owners = await Promise.all(
        [...EVERY_SHARD.map(inbox), TOPIC].map((stream) => keys.owners(stream)),
      );
      return owners.every((some) => Object.keys(some).length === 0);
    },
    'nothing to be pending',
    withinMs,
  );
}

test('what an instance that is killed had taken of all shards is taken over, and its leases are cleaned away', async () => {
  const victim = await instance();
  const client = caller();
  await client.connect();
  const answers: Promise<string>[] = [];
  for (const shard of EVERY_SHARD) {
    answers.push(
      firstValueFrom(client.send<string>('task', { name: `asked${shard}.`, then: 'end', waits: true })),
    );
    await victim.says(`started asked${shard}.`);
  }
  await lastValueFrom(client.emit('task.event', { name: 'told', then: 'end', waits: true }));
  await victim.says('started told');
  for (const shard of EVERY_SHARD) {
    await expect(keys.owners(inbox(shard))).resolves.toMatchObject({ [await nameOf(victim.pid)]: 1 });
  }
  const survivor = await instance();
  await victim.end('SIGKILL');
  for (const shard of EVERY_SHARD) {
    await survivor.says(`started asked${shard}. 2`);
  }
  await survivor.says('started told 2');
  survivor.signal('SIGHUP');
  await expect(Promise.all(answers)).resolves.toEqual(
    EVERY_SHARD.map((shard) => `asked${shard}. by ${survivor.pid}`),
  );
  await nothingPending();
  expect(count(survivor.output, 'started')).toBe(4);
  for (const shard of EVERY_SHARD) {
    const registered = (): Promise<string[]> => keys.redis.hkeys(`{nest:${shard}}:instances:tasks`);
    await eventually(async () => (await registered()).length === 1, 'the dead one to be forgotten', 12_000);
    await eventually(async () => (await keys.redis.xlen(inbox(shard))) === 0, 'the inbox to be empty');
  }
}, 30_000);

async function nameOf(pid: number): Promise<string> {
  const names = await keys.redis.hkeys('{nest:0}:instances:tasks');
  return names.find((name) => name.includes(`-${pid}-`))!;
}

test('a request that kills its instances becomes a dead letter, and its neighbours in all shards are handled', async () => {
  const instances = await service.supervised(2, { shards: SHARDS, lease: 400 });
  const client = caller();
  await client.connect();
  const killer = firstValueFrom(client.send<string>('task', { name: 'killer', then: 'die', ms: 100 }));
  await lastValueFrom(client.emit('task.event', { name: 'killing-event', then: 'die', ms: 150 }));
  const beside: Promise<string>[] = [];
  for (let i = 0; i < 60; i++) {
    beside.push(firstValueFrom(client.send<string>('task', { name: `beside${i}.`, then: 'end', ms: 200 })));
    if (i % 5 === 4) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  await expect(killer).rejects.toMatchObject({ code: 'DELIVERIES_EXHAUSTED' });
  await expect(Promise.all(beside)).resolves.toHaveLength(60);
  await nothingPending(20_000);
  const letters = new RedisStreamsDeadLetters({
    connection: service.redis.url,
    service: 'tasks',
    shards: SHARDS,
  });
  onClose(() => letters.close());
  await eventually(async () => (await letters.count()) === 2, 'two dead letters');
  const found = (await letters.list()).letters.map(({ reason, deliveries, data }) => ({
    reason,
    deliveries,
    name: (JSON.parse(data!.toString()) as Task).name,
  }));
  expect(found).toEqual(
    expect.arrayContaining(
      ['killer', 'killing-event'].map((name) => ({ reason: 'exhausted', deliveries: 5, name })),
    ),
  );
  // One that was taken, but not yet started, when its instance died of the other counts as delivered, too.
  const starts = count(instances.output, 'started killer ');
  expect(starts).toBeGreaterThanOrEqual(3);
  expect(starts).toBeLessThanOrEqual(5);
}, 60_000);

test('what an instance hands over when it closes is taken by another, from every shard', async () => {
  const leaving = await instance({ shutdownTimeout: 0 });
  const client = caller();
  await client.connect();
  const answers: Promise<string>[] = [];
  for (const shard of EVERY_SHARD) {
    answers.push(
      firstValueFrom(client.send<string>('task', { name: `asked${shard}.`, then: 'end', waits: true })),
    );
    await leaving.says(`started asked${shard}.`);
  }
  const other = await instance();
  leaving.signal('SIGUSR2');
  await leaving.says('closed');
  for (const shard of EVERY_SHARD) {
    await other.says(`started asked${shard}. `);
  }
  other.signal('SIGHUP');
  await expect(Promise.all(answers)).resolves.toEqual(
    EVERY_SHARD.map((shard) => `asked${shard}. by ${other.pid}`),
  );
  await nothingPending();
});
