import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { closeAll, inspect, onClose } from '../../support/app.js';
import { TaskService } from '../../support/tasks.js';
import { eventually } from '../../support/wait.js';

const SHARDS = 3;
/** Twice what the slowest of an instance's rounds takes. */
const IDLE_FOR_MS = 10_000;

let service: TaskService;
let idleSince: number;
beforeAll(async () => {
  service = await TaskService.make();
  await service.instance({ shards: SHARDS });
  idleSince = performance.now();
});
afterAll(async () => {
  await closeAll();
  await service.remove();
});

test('an idle instance with the default lease sends at most two commands a second for each shard', async () => {
  // Until then it looks for what its first connections might have lost.
  await eventually(() => performance.now() - idleSince > 9_000, 'it to have come to rest', 10_000);
  const monitor = await inspect(service.redis.url).monitor();
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
  expect(commands.length).toBeLessThanOrEqual((SHARDS * 2 * IDLE_FOR_MS) / 1_000);
}, 40_000);
