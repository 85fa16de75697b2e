import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { Cluster } from 'ioredis';
import { firstValueFrom, from, lastValueFrom, toArray, type Observable } from 'rxjs';
import type { RedisStreamsClientOptions } from '../../../lib/index.js';
import { closeAll, connect, serve } from '../../support/app.js';
import { RedisCluster } from '../../support/redis-cluster.js';
import { eventually } from '../../support/wait.js';

const PATTERNS = ['a', 'b', 'c', 'd', 'e', 'f'];
const handled: [string, number][] = [];

@Controller()
class ClusterController {
  @MessagePattern('double')
  double(@Payload() n: number): number {
    return n * 2;
  }

  @MessagePattern('count')
  count(@Payload() n: number): Observable<number> {
    return from(Array.from({ length: n }, (_, i) => i));
  }

  @EventPattern<readonly string[]>(PATTERNS)
  event(@Payload() [pattern, n]: [string, number]): void {
    handled.push([pattern, n]);
  }
}

let cluster: RedisCluster;
beforeAll(async () => {
  Logger.overrideLogger(false);
  cluster = await RedisCluster.start();
}, 60_000);
beforeEach(async () => {
  handled.length = 0;
  await cluster.flush();
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await cluster.stop();
});

test.each([1, 4])('requests, Observables and events, with %i shards', async (shards) => {
  const options = { connection: cluster.connection, service: 'calc', shards };
  await serve(options, ClusterController);
  const client = connect(options);
  const numbers = Array.from({ length: 500 }, (_, n) => n);
  await expect(
    Promise.all(numbers.map((n) => firstValueFrom(client.send<number>('double', n)))),
  ).resolves.toEqual(numbers.map((n) => n * 2));
  await expect(lastValueFrom(client.send<number>('count', 100).pipe(toArray()))).resolves.toHaveLength(100);
  await Promise.all(
    PATTERNS.flatMap((pattern) =>
      numbers.slice(0, 50).map((n) => lastValueFrom(client.emit(pattern, [pattern, n]), { defaultValue: 0 })),
    ),
  );
  await eventually(() => handled.length === PATTERNS.length * 50, 'all events');
  for (let shard = 0; shard < shards; shard++) {
    const inbox = `{nest:${shard}}:inbox:calc`;
    const redis = await cluster.at(inbox);
    await eventually(async () => (await redis.xlen(inbox)) === 0, `${inbox} to be empty`);
  }
});

test('replies reach many clients, whose streams lie on all nodes', async () => {
  const options = { connection: cluster.connection, service: 'calc' };
  await serve(options, ClusterController);
  const clients = Array.from({ length: 12 }, () => connect(options));
  const answers = clients.map((client, n) => firstValueFrom(client.send<number>('double', n)));
  await expect(Promise.all(answers)).resolves.toEqual(clients.map((_, n) => n * 2));
});

test.each<[string, () => RedisStreamsClientOptions['connection']]>([
  ['one of its nodes', () => ({ cluster: { nodes: [cluster.nodes[4]!.url] } })],
  ['hosts and ports', () => ({ cluster: { nodes: [{ host: '127.0.0.1', port: cluster.nodes[0]!.port }] } })],
  ['a dead node besides', () => ({ cluster: { nodes: ['redis://127.0.0.1:1', cluster.nodes[1]!.url] } })],
])('the cluster may be given by %s', async (_, connection) => {
  const options = { connection: connection(), service: 'calc', shards: 2 };
  await serve(options, ClusterController);
  await expect(firstValueFrom(connect(options).send('double', 4))).resolves.toBe(8);
});

test("an ioredis Cluster stays the caller's", async () => {
  const given = new Cluster([cluster.nodes[0]!.url]);
  const options = { connection: given, service: 'calc' };
  await serve(options, ClusterController);
  const client = connect(options);
  await expect(firstValueFrom(client.send('double', 4))).resolves.toBe(8);
  await client.close();
  await closeAll();
  await expect(given.set('{mine}', 1)).resolves.toBe('OK');
  given.disconnect();
});
