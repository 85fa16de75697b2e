import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { inspect } from '../support/app.js';
import { CompiledScripts, type RunningScript } from '../support/child-process.js';
import type { Costs } from '../support/children/cost.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

/** A young generation that all fits in: the heap then grows by what is allocated. */
const NODE_OPTIONS = ['--expose-gc', '--min-semi-space-size=256', '--max-semi-space-size=256'];

let redis: RedisServer;
let scripts: CompiledScripts;
let server: RunningScript;
let costs: Costs;
beforeAll(async () => {
  redis = await RedisServer.start();
  scripts = await CompiledScripts.make();
  server = scripts.runWith(NODE_OPTIONS, 'cost', 'server', redis.url);
  await server.says('listening');
  const client = scripts.runWith(NODE_OPTIONS, 'cost', 'client', redis.url);
  try {
    await client.says('costs ', 90_000);
    costs = JSON.parse(/^costs (.*)$/m.exec(client.output)![1]!) as Costs;
  } finally {
    await client.end('SIGKILL');
  }
}, 120_000);
afterAll(async () => {
  await server.end('SIGKILL');
  await redis.stop();
  scripts.remove();
});

// What is measured here does not depend on the machine. The bounds of the bytes lie a quarter above what was measured.
test('a request costs few Redis commands, fewer when there are many', () => {
  expect(costs.commandsAtOne).toBeLessThan(5.5);
  expect(costs.commandsAtMany).toBeLessThan(1.3);
});

test('a request allocates little', () => {
  expect(costs.clientBytes).toBeLessThan(5_500);
  expect(costs.serverBytes).toBeLessThan(10_000);
});

test('nothing grows over 50,000 requests', async () => {
  expect(costs.clientGrowth).toBeLessThan(1_000_000);
  expect(costs.serverGrowth).toBeLessThan(1_000_000);
  const keys = inspect(redis.url);
  await eventually(async () => (await keys.xlen('{nest:0}:inbox:cost')) === 0, 'the inbox to be empty');
  keys.disconnect();
});
