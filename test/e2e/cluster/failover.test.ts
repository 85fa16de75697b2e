import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { RedisStreamsClientOptions } from '../../../lib/index.js';
import { shardOf } from '../../../lib/redis/sharding.js';
import { closeAll, connect, serve } from '../../support/app.js';
import { EXPECTED_OUTCOMES, Load, LOAD_TIMEOUT } from '../../support/load.js';
import { RedisCluster } from '../../support/redis-cluster.js';
import { eventually } from '../../support/wait.js';

const SHARDS = 3;
/** A key of the shard whose node is made to fail. */
const LAYOUT = '{nest:0}:layout';
/** Three patterns, whose topics lie in three shards. */
const PATTERNS = ['d', 'a', 'l'];
const handled = new Set<string>();

@Controller()
class FailoverController {
  @MessagePattern('double')
  double(@Payload() n: number): number {
    return n * 2;
  }

  @EventPattern<readonly string[]>(PATTERNS)
  event(@Payload() name: string): void {
    handled.add(name);
  }
}

let cluster: RedisCluster;
beforeAll(async () => {
  Logger.overrideLogger(false);
  cluster = await RedisCluster.start();
}, 60_000);
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await cluster.stop();
});

const options = (): RedisStreamsClientOptions & { shards: number } => ({
  connection: cluster.connection,
  service: 'calc',
  shards: SHARDS,
});

/** Two instances, and a load that runs. */
async function startLoad(): Promise<Load> {
  handled.clear();
  await serve({ ...options(), lease: 2_000 }, FailoverController);
  await serve({ ...options(), lease: 2_000 }, FailoverController);
  const client = connect({ ...options(), timeout: LOAD_TIMEOUT });
  await client.connect();
  const load = new Load(client, PATTERNS);
  await eventually(() => handled.size > 200, 'the load to run', 10_000);
  return load;
}

/** The load goes on for so many events more, and ends. */
async function finish(load: Load): Promise<void> {
  const before = handled.size;
  await eventually(() => handled.size > before + 300, 'the load to go on', 20_000);
  await load.stop();
}

const isHandled = ({ name }: { name: string }): boolean => handled.has(name);

test('the patterns of this file lie in all shards', () => {
  expect(PATTERNS.map((pattern) => shardOf(pattern, SHARDS))).toEqual([0, 1, 2]);
});

test('a master is killed under load: its replica takes over, every request ends, and what was replicated is handled', async () => {
  const load = await startLoad();
  const victim = await cluster.masterOf(LAYOUT);
  const killedAt = performance.now();
  await victim.kill('SIGKILL');
  const isReplaced = async (): Promise<boolean> => (await cluster.masterOf(LAYOUT)) !== victim;
  await eventually(isReplaced, 'the replica to be elected', 20_000);
  await cluster.settled();
  const replacedAt = performance.now();
  await finish(load);
  expect([...load.outcomes.keys()].filter((outcome) => !EXPECTED_OUTCOMES.includes(outcome))).toEqual([]);
  // Redis answers before its replica has an entry: what it stored just before it was killed may be lost.
  const kept = load.stored.filter(({ at }) => at < killedAt - 500 || at > replacedAt);
  await eventually(() => kept.every(isHandled), 'all that was kept', 20_000);
  await victim.start();
  await cluster.settled();
  await cluster.replicated();
}, 90_000);

test('a replica is promoted under load, in agreement with its master: nothing is lost, and nobody notices', async () => {
  const load = await startLoad();
  const master = await cluster.masterOf(LAYOUT);
  const replica = await cluster.replicaOf(LAYOUT);
  await cluster.look(replica).cluster('FAILOVER');
  await eventually(async () => (await cluster.masterOf(LAYOUT)) === replica, 'the replica to be promoted');
  await finish(load);
  expect(master).not.toBe(replica);
  expect([...load.outcomes.keys()].sort()).toEqual(['event: ok', 'request: ok']);
  await eventually(() => load.stored.every(isHandled), 'all events', 20_000);
}, 60_000);

test('a slot is moved under load: nothing is lost, and nobody notices but by its pace', async () => {
  const load = await startLoad();
  const from = await cluster.masterOf(LAYOUT);
  const to = (await cluster.masters()).find((node) => node !== from)!;
  let handledMeanwhile = 0;
  // With half of the keys here and half there, scripts meet TRYAGAIN and commands ASK.
  await cluster.migrate(LAYOUT, to, async () => {
    const before = handled.size;
    await eventually(() => handled.size > before + 50, 'the other shards to go on');
    handledMeanwhile = handled.size - before;
  });
  expect(handledMeanwhile).toBeGreaterThan(0);
  await finish(load);
  expect([...load.outcomes.keys()].sort()).toEqual(['event: ok', 'request: ok']);
  await eventually(() => load.stored.every(isHandled), 'all events', 20_000);
}, 60_000);

test('all nodes are gone for a while: everything goes on when they are back', async () => {
  const load = await startLoad();
  await Promise.all(cluster.nodes.map((node) => node.kill('SIGKILL')));
  await Promise.all(cluster.nodes.map((node) => node.start()));
  await cluster.settled();
  // They keep nothing on disk, so that what was stored is gone, and with it the groups.
  await finish(load);
  expect([...load.outcomes.keys()].filter((outcome) => !EXPECTED_OUTCOMES.includes(outcome))).toEqual([]);
}, 90_000);
