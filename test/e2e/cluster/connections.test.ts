import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { shardOf } from '../../../lib/redis/sharding.js';
import { closeAll, connect, serve } from '../../support/app.js';
import { RedisCluster } from '../../support/redis-cluster.js';
import { eventually } from '../../support/wait.js';

const SHARDS = 3;

@Controller()
class RequestsController {
  @MessagePattern('double')
  double(@Payload() n: number): number {
    return n * 2;
  }
}

@Controller()
class EventsController {
  // Their topics lie in two of the shards.
  @EventPattern<readonly string[]>(['a', 'b', 'd'])
  event(): void {
    // Only that there is a handler counts.
  }
}

let cluster: RedisCluster;
beforeAll(async () => {
  Logger.overrideLogger(false);
  cluster = await RedisCluster.start();
}, 60_000);
beforeEach(() => cluster.flush());
afterEach(async () => {
  await closeAll();
  await eventually(async () => (await roles()).length === 0, 'no connection to be left');
});
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await cluster.stop();
});

/** What the transport's connections to all nodes are for, sorted. */
async function roles(): Promise<string[]> {
  const lists = await Promise.all(
    cluster.nodes.map(async (node) => String(await cluster.look(node).client('LIST'))),
  );
  return [...lists.join('\n').matchAll(/ name=nestjs-redis-streams:(\S+)/g)].map(([, role]) => role!).sort();
}

/** So many connections of each kind, and no other. */
async function expectConnections(expected: Record<string, number>): Promise<void> {
  const all = Object.entries(expected)
    .flatMap(([role, count]) => Array.from({ length: count }, () => role))
    .sort();
  await eventually(
    async () => String(await roles()) === String(all),
    `the connections to be ${String(all)}`,
  ).catch(async () => expect(await roles()).toEqual(all));
}

const options = (shards: number) => ({ connection: cluster.connection, service: 'calc', shards });

test('a client has one for commands for each shard, one to the node of its replies, and one that waits for them', async () => {
  await connect(options(SHARDS)).connect();
  await expectConnections({ commands: SHARDS + 1, replies: 1 });
});

test('a server has for each shard one for commands, and one that waits for each of requests and control', async () => {
  await serve(options(SHARDS), RequestsController);
  await expectConnections({ commands: SHARDS, inbox: SHARDS, control: SHARDS });
});

test('a server with event handlers has one more for each shard that holds such topics', async () => {
  const shards = new Set(['a', 'b', 'd'].map((pattern) => shardOf(pattern, SHARDS)));
  expect(shards.size).toBe(2);
  await serve(options(SHARDS), EventsController);
  await expectConnections({ commands: SHARDS, inbox: SHARDS, control: SHARDS, topics: shards.size });
});

test('a server has one more for each node that holds replies of clients it has answered', async () => {
  await serve(options(1), RequestsController);
  await expectConnections({ commands: 1, inbox: 1, control: 1 });
  // More than enough for their streams to lie on all masters, whichever names they have got.
  const clients = Array.from({ length: 40 }, () => connect(options(1)));
  await Promise.all(clients.map((client, n) => firstValueFrom(client.send('double', n))));
  await Promise.all(clients.map((client) => client.close()));
  const masters = (await cluster.masters()).length;
  await expectConnections({ commands: 1 + masters, inbox: 1, control: 1 });
});
