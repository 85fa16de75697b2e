import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { closeAll, inspect, onClose } from '../support/app.js';
import { Proxy } from '../support/proxy.js';
import { Caller, INBOX, TaskKeys, TaskService, TOPIC } from '../support/tasks.js';
import { eventually } from '../support/wait.js';

const LEASE = 600;
/** BLOCK and its grace: for so long Redis may give entries to a machine that is gone. */
const QUARANTINE_MS = 7_000;
/** Twice what the slowest of its rounds takes. */
const IDLE_FOR_MS = 10_000;

let service: TaskService;
let keys: TaskKeys;
let proxy: Proxy;
/** Of the instance that does nothing, from the beginning on. */
let idle: TaskService;
let idleSince: number;
beforeAll(async () => {
  [service, idle] = await Promise.all([TaskService.make(), TaskService.make()]);
  keys = await TaskKeys.empty(service.redis.url);
  proxy = await Proxy.start(service.redis.port);
  await idle.instance();
  idleSince = performance.now();
});
afterAll(async () => {
  await closeAll();
  await Promise.all([proxy.stop(), service.remove(), idle.remove()]);
});

test('what Redis gives to a machine that is gone is not lost with its consumer, which is removed later', async () => {
  const [survivor, gone] = await Promise.all([
    service.instance({ lease: LEASE }),
    service.instance({ lease: LEASE, connection: proxy.url }),
  ]);
  const name = (await keys.instances()).find((instance) => instance.includes(`-${gone.pid}-`))!;
  // Redis gives an entry to whoever has been blocked for longest: until it is the turn of the one that will be gone.
  const caller = await Caller.make(keys.redis);
  let last: unknown;
  while (last !== `by ${survivor.pid}` || !gone.output.includes('started')) {
    last = (await caller.answer(await caller.ask({ name: '', then: 'end' }))).payload?.toString().trim();
  }
  proxy.freeze();
  await gone.end('SIGKILL');
  const died = performance.now();
  await survivor.says('hook instanceDied');
  const asked = await caller.ask({ name: 'asked', then: 'end' });
  await expect(caller.answer(asked)).resolves.toMatchObject({ kind: 'v' });
  // The first time it was given to the one that is gone.
  expect(survivor.output).toContain('started asked 2');
  await keys.nothingPending();
  await eventually(
    async () => (await keys.instances()).length === 1,
    'it to be forgotten',
    QUARANTINE_MS + 5_000,
  );
  expect(performance.now() - died).toBeGreaterThan(QUARANTINE_MS);
  for (const stream of [INBOX, TOPIC]) {
    for (const consumer of await keys.consumers(stream)) {
      expect(consumer).not.toContain(name);
    }
  }
}, 30_000);

test('an idle instance with the default lease sends at most two commands a second', async () => {
  // Until then it looks for what its first connections might have lost.
  await eventually(() => performance.now() - idleSince > 9_000, 'it to have come to rest', 10_000);
  const monitor = await inspect(idle.redis.url).monitor();
  onClose(() => monitor.disconnect());
  const commands: string[] = [];
  monitor.on('monitor', (_time: string, [command]: string[], source: string) => {
    // What a script calls is part of it.
    if (source !== 'lua') {
      commands.push(command!);
    }
  });
  const since = performance.now();
  await eventually(() => performance.now() - since > IDLE_FOR_MS, 'some time to pass', IDLE_FOR_MS + 1_000);
  expect(commands).toContain('xreadgroup');
  expect(commands).toContain('evalsha');
  expect(commands.length).toBeLessThanOrEqual((2 * IDLE_FOR_MS) / 1_000);
}, 40_000);
