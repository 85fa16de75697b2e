import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { closeAll, connect } from '../support/app.js';
import { Caller, count, TaskKeys, TaskService, tell } from '../support/tasks.js';

const LEASE = 600;
/** A lease, two sweeps, and what a busy machine needs besides. */
const TAKEN_WITHIN_MS = LEASE * 2 + 1_000;

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

test('a request whose instance is killed is answered by another, and an event is handled by it', async () => {
  const victim = await service.instance({ lease: LEASE });
  const asking = connect({ connection: service.redis.url, service: 'tasks' });
  const answer = firstValueFrom(asking.send<string>('task', { name: 'asked', then: 'end', waits: true }));
  await lastValueFrom(asking.emit('task.event', { name: 'told', then: 'end', waits: true }));
  await victim.says('started asked');
  await victim.says('started told');
  const survivor = await service.instance({ lease: LEASE });
  await victim.end('SIGKILL');
  const killed = performance.now();
  await survivor.says('started asked 2');
  await survivor.says('started told 2');
  // It had no full lease to be sure of itself before.
  expect(performance.now() - killed).toBeLessThan(LEASE + TAKEN_WITHIN_MS);
  survivor.signal('SIGHUP');
  await expect(answer).resolves.toBe(`asked by ${survivor.pid}`);
  await keys.settled();
});

test('a handler that runs ten times the lease is delivered once', async () => {
  const options = { lease: 300 };
  const instances = await Promise.all([service.instance(options), service.instance(options)]);
  const caller = await Caller.make(keys.redis);
  const long = await caller.ask({ name: 'long', then: 'end', ms: 3_000 });
  await expect(caller.answer(long)).resolves.toMatchObject({ kind: 'v' });
  await keys.settled();
  const output = instances.map((instance) => instance.output).join('');
  expect(count(output, 'started long')).toBe(1);
  expect(output.replaceAll('hook connected', '')).not.toContain('hook');
});

test('the only instance that is not full takes over, whoever it is that finds the others dead', async () => {
  const options = { lease: LEASE, concurrency: 1, eventConcurrency: 1 };
  const [victim, ...full] = await Promise.all([1, 2, 3].map(() => service.instance(options)));
  const caller = await Caller.make(keys.redis);
  // Each takes one of a kind.
  for (let i = 0; i < 3; i++) {
    await caller.ask({ name: `busy${i}.`, then: 'hang' });
    await tell(keys.redis, { name: `occupied${i}.`, then: 'hang' });
  }
  for (const instance of [victim!, ...full]) {
    await instance.says('started busy');
    await instance.says('started occupied');
  }
  const held = [...victim!.output.matchAll(/started (\w+\.)/g)].map(([, name]) => name!);
  expect(held).toHaveLength(2);
  const free = await service.instance(options);
  await victim!.end('SIGKILL');
  const killed = performance.now();
  for (const name of held) {
    await free.says(`started ${name} 2`);
  }
  expect(performance.now() - killed).toBeLessThan(LEASE + TAKEN_WITHIN_MS);
});

test('a request whose instances are killed one after the other is answered once, by the one that lives', async () => {
  const caller = await Caller.make(keys.redis);
  const request = await caller.ask({ name: 'asked', then: 'end', waits: true });
  await tell(keys.redis, { name: 'told', then: 'end', waits: true });
  let next = await service.instance({ lease: LEASE });
  for (const delivery of [1, 2]) {
    await next.says(`started asked ${delivery}`);
    await next.says(`started told ${delivery}`);
    await next.end('SIGKILL');
    next = await service.instance({ lease: LEASE });
  }
  // Alone by now, so one after the other.
  await next.says('started asked 3');
  next.signal('SIGHUP');
  await expect(caller.answer(request)).resolves.toEqual({ kind: 'v', payload: `asked by ${next.pid}` });
  await next.says('started told 3');
  next.signal('SIGHUP');
  await keys.settled();
  expect(count(next.output, 'started')).toBe(2);
  await expect(caller.answers(request)).resolves.toHaveLength(1);
});
