import { afterAll, beforeAll, test } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { streamCommands } from '../support/model/commands.js';
import { setUp } from '../support/model/operations.js';
import { RedisSystem } from '../support/model/redis-system.js';
import { RedisServer } from '../support/redis-server.js';

/** About five seconds; more by the environment variable, for a long look. */
const RUNS = Number(process.env['MODEL_RUNS'] ?? 200);

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  server = await RedisServer.start();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

test('the scripts do to a group what the model says, whatever happens in which order', async () => {
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(streamCommands(100), async (commands) => {
      const system = await RedisSystem.create(redis, `run-${++runs}`);
      await fc.asyncModelRun(() => setUp(system), commands);
    }),
    { numRuns: RUNS },
  );
}, 300_000);
