import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { closeAll } from '../support/app.js';
import type { RunningScript } from '../support/child-process.js';
import { Proxy } from '../support/proxy.js';
import { Caller, count, INBOX, TaskKeys, TaskService, tell, TOPIC } from '../support/tasks.js';
import { eventually } from '../support/wait.js';

const LEASE = 600;

let service: TaskService;
let keys: TaskKeys;
let caller: Caller;
/** In front of the instance that is stopped. */
let proxy: Proxy;
beforeAll(async () => {
  service = await TaskService.make();
});
beforeEach(async () => {
  keys = await TaskKeys.empty(service.redis.url);
  caller = await Caller.make(keys.redis);
  proxy = await Proxy.start(service.redis.port);
});
afterEach(async () => {
  await closeAll();
  await proxy.stop();
});
afterAll(() => service.remove());

const startOne = (): Promise<RunningScript> => service.instance({ lease: LEASE });
const startProxied = (): Promise<RunningScript> => service.instance({ lease: LEASE, connection: proxy.url });

/** The name of an instance. */
async function nameOf({ pid }: RunningScript): Promise<string> {
  return (await keys.instances()).find((name) => name.includes(`-${pid}-`))!;
}

/** Has the process stand still for three leases, and until `meanwhile` has happened. */
async function stopFor(script: RunningScript, meanwhile: () => Promise<unknown>): Promise<void> {
  script.signal('SIGSTOP');
  const since = performance.now();
  await meanwhile();
  await eventually(() => performance.now() - since > 3 * LEASE, 'three leases to pass');
  script.signal('SIGCONT');
}

/** Waits for a renewal that Redis has run, and whose answer is still on the way. */
async function renewalUnderWay(script: RunningScript): Promise<void> {
  const lease = keys.lease(await nameOf(script));
  await eventually(async () => (await keys.redis.pttl(lease)) < LEASE * 0.8, 'a renewal to be near');
  proxy.hold('to-client');
  await eventually(async () => (await keys.redis.pttl(lease)) > LEASE * 0.9, 'the renewal');
}

test.each<[string, (script: RunningScript) => Promise<void>]>([
  ['at any moment', () => Promise.resolve()],
  ['between a renewal and its answer', renewalUnderWay],
])(
  'an instance that stands still for three leases, %s, neither settles nor answers what was taken over, and goes on serving',
  async (_, untilMoment) => {
    const stopped = await startProxied();
    const asked = await caller.ask({ name: 'asked', then: 'end', waits: true });
    await tell(keys.redis, { name: 'told', then: 'end', waits: true });
    await tell(keys.redis, { name: 'failing', then: 'fail', waits: true });
    await tell(keys.redis, { name: 'hanging', then: 'hang' });
    const names = ['asked', 'told', 'failing', 'hanging'];
    for (const name of names) {
      await stopped.says(`started ${name} 1`);
    }
    const other = await startOne();
    await untilMoment(stopped);
    await stopFor(stopped, async () => {
      proxy.letGo();
      for (const name of names) {
        await other.says(`started ${name} 2`);
      }
      // Its handlers end as soon as it goes on, before it can know what has become of its messages.
      stopped.signal('SIGHUP');
    });
    await stopped.says('aborted hanging LeaseLostError');
    await stopped.says('ended asked');
    await stopped.says('ended told');
    const owner = await nameOf(other);
    await expect(caller.answers(asked)).resolves.toEqual([]);
    await expect(keys.owners(INBOX)).resolves.toEqual({ [owner]: 1 });
    await expect(keys.owners(TOPIC)).resolves.toEqual({ [owner]: 3 });
    expect(count(stopped.output, 'hook fenced')).toBe(1);
    expect(stopped.output).toMatch(/hook fenced .*"lost":4/);

    other.signal('SIGHUP');
    await expect(caller.answer(asked)).resolves.toEqual({ kind: 'v', payload: `asked by ${other.pid}` });
    await other.says('hook retried');
    expect(stopped.output).not.toContain('hook retried');
    await other.end('SIGKILL');
    const next = await caller.ask({ name: 'next', then: 'end' });
    await expect(caller.answer(next)).resolves.toEqual({ kind: 'v', payload: `next by ${stopped.pid}` });
    // Time for anything that it had kept back.
    await expect(caller.answer(asked)).resolves.toMatchObject({ kind: 'v' });
  },
);

test('a reply that was written before its instance stood still is not written again', async () => {
  const stopped = await startProxied();
  const asked = await caller.ask({ name: 'asked', then: 'end', waits: true });
  await stopped.says('started asked 1');
  const other = await startOne();
  proxy.hold('to-client');
  stopped.signal('SIGHUP');
  await expect(caller.answer(asked)).resolves.toEqual({ kind: 'v', payload: `asked by ${stopped.pid}` });
  await stopFor(stopped, async () => {
    // It will never know whether its reply has arrived.
    proxy.cut();
    proxy.letGo();
    await other.says('started asked 2');
  });
  await stopped.says('hook fenced');
  other.signal('SIGHUP');
  await other.says('ended asked');
  await keys.settled();
  const next = await caller.ask({ name: 'next', then: 'end' });
  await caller.answer(next);
  // One by each: the first ends the request at its caller.
  await expect(caller.answers(asked)).resolves.toEqual([
    { kind: 'v', payload: `asked by ${stopped.pid}` },
    { kind: 'v', payload: `asked by ${other.pid}` },
  ]);
});

test('an instance that stands still for three leases, and from which nobody took anything, goes on as if nothing had been', async () => {
  const stopped = await startOne();
  const asked = await caller.ask({ name: 'asked', then: 'end', waits: true });
  await tell(keys.redis, { name: 'told', then: 'end', waits: true });
  await stopped.says('started asked 1');
  await stopped.says('started told 1');
  await stopFor(stopped, () => Promise.resolve());
  stopped.signal('SIGHUP');
  await expect(caller.answer(asked)).resolves.toEqual({ kind: 'v', payload: `asked by ${stopped.pid}` });
  await keys.settled();
  expect(stopped.output).not.toContain('aborted');
  expect(count(stopped.output, 'started')).toBe(2);
});
