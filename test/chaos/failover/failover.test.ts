import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { RedisCluster } from '../../support/redis-cluster.js';
import { killOnce } from './experiment.js';

let cluster: RedisCluster;
beforeAll(async () => {
  Logger.overrideLogger(false);
  cluster = await RedisCluster.start();
}, 60_000);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await cluster.stop();
});

test('a replica that was cut off does not have what was confirmed meanwhile, and the experiment counts it', async () => {
  const { confirmed, gone, from, rate } = await killOnce(cluster, 'its replica is cut off before', 'nothing');
  expect(gone).toBeGreaterThan(0);
  expect(gone).toBeLessThan(confirmed);
  expect(from).toBeGreaterThan(2_000);
  expect(rate).toBeGreaterThan(0);
});
