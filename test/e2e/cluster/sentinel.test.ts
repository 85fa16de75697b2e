import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { Redis } from 'ioredis';
import { closeAll, connect, inspect, serve } from '../../support/app.js';
import { EXPECTED_OUTCOMES, Load, LOAD_TIMEOUT } from '../../support/load.js';
import { RedisSentinel } from '../../support/redis-sentinel.js';
import { eventually } from '../../support/wait.js';

const PATTERNS = ['a', 'b'];
const handled = new Set<string>();

@Controller()
class SentinelController {
  @MessagePattern('double')
  double(@Payload() n: number): number {
    return n * 2;
  }

  @EventPattern<readonly string[]>(PATTERNS)
  event(@Payload() name: string): void {
    handled.add(name);
  }
}

let sentinel: RedisSentinel;
beforeAll(async () => {
  Logger.overrideLogger(false);
  sentinel = await RedisSentinel.start();
}, 60_000);
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await sentinel.stop();
});

async function startLoad(): Promise<Load> {
  handled.clear();
  const options = { connection: sentinel.connection, service: 'calc' };
  await serve({ ...options, lease: 2_000 }, SentinelController);
  await serve({ ...options, lease: 2_000 }, SentinelController);
  const client = connect({ ...options, timeout: LOAD_TIMEOUT });
  await client.connect();
  const load = new Load(client, PATTERNS);
  await eventually(() => handled.size > 200, 'the load to run', 10_000);
  return load;
}

async function finish(load: Load): Promise<void> {
  const before = handled.size;
  await eventually(() => handled.size > before + 300, 'the load to go on', 20_000);
  await load.stop();
}

/** Every request has ended as it may, and every event is handled that was stored before the failover, or after it. */
async function expectAccount(load: Load, from: number, to: number): Promise<void> {
  expect([...load.outcomes.keys()].filter((outcome) => !EXPECTED_OUTCOMES.includes(outcome))).toEqual([]);
  // Redis answers before its replica has an entry: what it stored last may be lost.
  const kept = load.stored.filter(({ at }) => at < from - 500 || at > to);
  await eventually(() => kept.every(({ name }) => handled.has(name)), 'all that was kept', 20_000);
}

test('the master becomes a replica under load (READONLY, UNBLOCKED): what is written goes to the new one', async () => {
  const load = await startLoad();
  const from = performance.now();
  await sentinel.failOver();
  const isReplaced = async (): Promise<boolean> => (await sentinel.masterPort()) === sentinel.replica.port;
  await eventually(isReplaced, 'the failover', 30_000);
  const isReplica = async (): Promise<boolean> =>
    (await inspect(sentinel.master.url).info('replication')).includes('role:slave');
  await eventually(isReplica, 'the old master to follow the new one', 30_000);
  const to = performance.now();
  await finish(load);
  await expectAccount(load, from, to);
}, 90_000);

test('the master is killed under load: every request ends, and what was replicated is handled', async () => {
  const load = await startLoad();
  const port = await sentinel.masterPort();
  const [victim, other] =
    port === sentinel.master.port ? [sentinel.master, sentinel.replica] : [sentinel.replica, sentinel.master];
  const killedAt = performance.now();
  await victim.kill('SIGKILL');
  await eventually(async () => (await sentinel.masterPort()) === other.port, 'the failover', 30_000);
  const look = new Redis(other.url, { disconnectTimeout: 100 });
  await eventually(async () => (await look.info('replication')).includes('role:master'), 'the new master');
  look.disconnect();
  const replacedAt = performance.now();
  await finish(load);
  await expectAccount(load, killedAt, replacedAt);
}, 90_000);
