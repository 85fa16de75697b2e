import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { PublishRefusedError } from '../../../lib/index.js';
import { closeAll, connect, serve } from '../../support/app.js';
import { RedisCluster } from '../../support/redis-cluster.js';
import { deferred, eventually, type Deferred } from '../../support/wait.js';

const LEASE = 2_000;
let release: Deferred;
let running = 0;
const handled: string[] = [];

@Controller()
class SlowController {
  @MessagePattern('slow')
  async slow(@Payload() n: number): Promise<number> {
    running++;
    await release.promise;
    return n * 2;
  }

  @EventPattern('event')
  event(@Payload() name: string): void {
    handled.push(name);
  }
}

let cluster: RedisCluster;
beforeAll(async () => {
  Logger.overrideLogger(false);
  cluster = await RedisCluster.start({
    args: ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '1'],
  });
}, 60_000);
beforeEach(async () => {
  release = deferred();
  running = 0;
  handled.length = 0;
  await cluster.flush();
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await cluster.stop();
});

test('a master that has too few replicas refuses what is published; what was under way is settled when it has enough again', async () => {
  const options = { connection: cluster.connection, service: 'calc' };
  await serve({ ...options, lease: LEASE }, SlowController);
  const client = connect({ ...options, timeout: 30_000 });
  const answers = Promise.all([1, 2, 3].map((n) => firstValueFrom(client.send<number>('slow', n))));
  await eventually(() => running === 3, 'three requests to run');
  const redis = await cluster.at('{nest:0}:layout');
  const replica = await cluster.replicaOf('{nest:0}:layout');

  const publish = (name: string): Promise<void> =>
    lastValueFrom(client.emit<void>('event', name), { defaultValue: undefined });
  await publish('before');
  await replica.kill('SIGKILL');
  const refusal = await eventually(
    () =>
      publish('while it has none').then(
        () => undefined,
        (error: unknown) => error,
      ),
    'an event to be refused',
  );
  expect(refusal).toBeInstanceOf(PublishRefusedError);
  expect(String((refusal as PublishRefusedError).cause)).toContain('NOREPLICAS');
  await expect(firstValueFrom(client.send('slow', 4))).rejects.toThrow(/NOREPLICAS/);
  release.resolve();
  // Nobody can renew it.
  const leases = (): Promise<string[]> => redis.keys('{nest:0}:lease:calc:*');
  await eventually(async () => (await leases()).length === 0, 'the lease to run out', LEASE * 2);

  await replica.start();
  await cluster.replicated();
  await expect(answers).resolves.toEqual([2, 4, 6]);
  expect(running).toBe(3);
  await eventually(
    async () => (await redis.xlen('{nest:0}:inbox:calc')) === 0,
    'the requests to be settled',
    10_000,
  );
  await publish('after');
  await eventually(() => handled.includes('after'), 'the event to be handled', 10_000);
}, 90_000);
