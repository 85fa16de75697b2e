import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { closeAll, onClose } from '../support/app.js';
import type { RunningScript } from '../support/child-process.js';
import { Proxy } from '../support/proxy.js';
import { Caller, INBOX, TaskKeys, TaskService, tell, TOPIC } from '../support/tasks.js';
import { eventually } from '../support/wait.js';

/** Long before a lease has run out, which is 10 s by default, on a busy machine. */
const SOON_MS = 1_500;
const BACKOFF_MS = 4_000;

let service: TaskService;
let keys: TaskKeys;
let caller: Caller;
beforeAll(async () => {
  service = await TaskService.make();
});
beforeEach(async () => {
  keys = await TaskKeys.empty(service.redis.url);
  caller = await Caller.make(keys.redis);
});
afterEach(closeAll);
afterAll(() => service.remove());

/** Closes the application of an instance; the process has to end by itself. */
async function close(instance: RunningScript): Promise<void> {
  instance.signal('SIGUSR2');
  await instance.says('closed');
}

test('what still runs after shutdownTimeout is run by another at once, and was delivered no more often for that', async () => {
  const leaving = await service.instance({ shutdownTimeout: 200 });
  const asked = await caller.ask({ name: 'asked', then: 'end', waits: true });
  await tell(keys.redis, { name: 'told', then: 'end', waits: true });
  await leaving.says('started asked 1');
  await leaving.says('started told 1');
  const other = await service.instance();
  await close(leaving);
  const closed = performance.now();
  await other.says('started asked 1');
  await other.says('started told 1');
  expect(performance.now() - closed).toBeLessThan(SOON_MS);
  expect(leaving.output).toContain('aborted asked ConnectionClosedError');
  expect(leaving.output).toContain('aborted told ConnectionClosedError');
  other.signal('SIGHUP');
  await expect(caller.answer(asked)).resolves.toEqual({ kind: 'v', payload: `asked by ${other.pid}` });
  await keys.settled();
  expect(other.output).not.toContain('hook instanceDied');
  // Nothing is left of the one that has closed, nor of the orphans.
  await expect(keys.redis.hkeys('{nest:0}:instances:tasks')).resolves.toHaveLength(1);
  for (const stream of [INBOX, TOPIC]) {
    const consumers = await keys.consumers(stream);
    expect(consumers.filter((name) => name.includes(`-${leaving.pid}-`))).toEqual([]);
  }
});

test('failed events that wait are handed on and on, and delivered again when their backoff is over', async () => {
  const retry = { backoff: { type: 'fixed', delay: BACKOFF_MS } };
  const left = await Promise.all([1, 2, 3].map(() => service.instance({ retry })));
  await tell(keys.redis, { name: 'failing', then: 'fail' });
  await eventually(() => left.some(({ output }) => output.includes('hook retried')), 'it to have failed');
  const failed = performance.now();
  while (left.length > 1) {
    const holder = await eventually(async () => {
      const [owner] = Object.keys(await keys.owners(TOPIC));
      return left.find(({ pid }) => owner?.includes(`-${pid}-`));
    }, 'one that lives to hold it');
    left.splice(left.indexOf(holder), 1);
    await close(holder);
  }
  const last = left[0]!;
  await last.says('started failing 2');
  const waited = performance.now() - failed;
  expect(waited).toBeGreaterThan(BACKOFF_MS - 100);
  expect(waited).toBeLessThan(BACKOFF_MS + SOON_MS);
  // One that has closed is not dead.
  expect(last.output).not.toContain('hook instanceDied');
  await expect(keys.instances()).resolves.toHaveLength(1);
});

test.each<[string, (instance: RunningScript, proxy: Proxy) => Promise<unknown>]>([
  ['idle', () => Promise.resolve()],
  [
    'with handlers that never end, a failed event that waits, and strays to look for',
    async (instance, proxy) => {
      await caller.ask({ name: 'asked', then: 'hang' });
      await tell(keys.redis, { name: 'told', then: 'hang' });
      await tell(keys.redis, { name: 'failing', then: 'fail' });
      await instance.says('hook retried');
      await instance.says('started told');
      proxy.cut();
      await eventually(() => proxy.connections === 8 && proxy.open === 4, 'four connections, again');
    },
  ],
  [
    'while Redis is away',
    async (instance, proxy) => {
      await caller.ask({ name: 'asked', then: 'hang' });
      await instance.says('started asked');
      proxy.refuse();
    },
  ],
])('a process whose application was closed %s ends by itself', async (_, before) => {
  const proxy = await Proxy.start(service.redis.port);
  onClose(() => proxy.stop());
  const instance = await service.instance({
    connection: proxy.url,
    shutdownTimeout: 100,
    retry: { backoff: { type: 'fixed', delay: 600_000 } },
  });
  await before(instance, proxy);
  await close(instance);
  await eventually(() => instance.hasEnded, 'the process to end', 2_000);
  await expect(instance.end('SIGKILL')).resolves.toEqual({ code: 0, signal: null });
});
