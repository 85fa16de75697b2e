import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { Redis, type RedisOptions } from 'ioredis';
import { RedisStreamsContext } from '../../lib/index.js';
import { closeAll, serve } from '../support/app.js';
import { Proxy } from '../support/proxy.js';
import { Caller, INBOX, TaskKeys, tell, TOPIC } from '../support/tasks.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const LEASE = 1_000;
/** BLOCK and its grace, a second until that is noticed, another until strays are looked for, and a busy machine. */
const FOUND_WITHIN_MS = 11_000;

let ran: string[] = [];

@Controller()
class TaskController {
  @MessagePattern('task')
  request(@Payload() { name }: { name: string }, @Ctx() { deliveryCount }: RedisStreamsContext): string {
    ran.push(`${name} ${deliveryCount}`);
    return name;
  }
  @EventPattern<string>('task.event')
  event(@Payload() { name }: { name: string }, @Ctx() { deliveryCount }: RedisStreamsContext): void {
    ran.push(`${name} ${deliveryCount}`);
  }
}

let redis: RedisServer;
let keys: TaskKeys;
let caller: Caller;
let inbox: Proxy;
let topics: Proxy;
let reports: string[] = [];
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  ran = [];
  reports = [];
  keys = await TaskKeys.empty(redis.url);
  caller = await Caller.make(keys.redis);
  inbox = await Proxy.start(redis.port);
  topics = await Proxy.start(redis.port);
});
afterEach(async () => {
  await closeAll();
  await Promise.all([inbox.stop(), topics.stop()]);
});
afterAll(() => redis.stop());

/** An instance whose reads go through the proxies. */
async function serveProxied() {
  const ports: Record<string, number> = { inbox: inbox.port, topics: topics.port };
  const connection = (options: RedisOptions): Redis => {
    const role = options.connectionName!.split(':')[1]!;
    return new Redis({ ...options, host: '127.0.0.1', port: ports[role] ?? redis.port });
  };
  const { server, app } = await serve({ connection, service: 'tasks', lease: LEASE }, TaskController);
  for (const name of ['takenOver', 'instanceDied', 'fenced'] as const) {
    server.hooks.on(name, () => reports.push(name));
  }
  await bothRead();
  return app;
}

/** Waits until both readers are blocked in Redis, on connections that are alive at this side. */
async function bothRead(): Promise<void> {
  await eventually(async () => {
    const clients = (await keys.redis.client('LIST')) as string;
    return ['inbox', 'topics'].every((role) =>
      new RegExp(`name=nestjs-redis-streams:${role} .* flags=b .*cmd=xreadgroup`).test(clients),
    );
  }, 'both readers to be blocked');
}

/** A request and an event, of which no reader may have told this instance. @returns the request's id */
async function sendBoth(): Promise<string> {
  const id = await caller.ask({ name: 'asked', then: 'end' });
  await tell(keys.redis, { name: 'told', then: 'end' });
  return id;
}

/** Waits until both have been handled, once, by the instance to which they had been given. */
async function expectHandledOnce(id: string): Promise<void> {
  await eventually(() => ran.length >= 2, 'both to be handled', FOUND_WITHIN_MS);
  await keys.settled();
  expect(ran.sort()).toEqual(['asked 1', 'told 1']);
  await expect(caller.answers(id)).resolves.toHaveLength(1);
  expect(reports).toEqual([]);
}

test.each([0, 30])(
  'what is on the wire when its connection breaks, after %i bytes of it, is found and handled once',
  async (bytes) => {
    await serveProxied();
    inbox.cutAfter('to-client', bytes);
    topics.cutAfter('to-client', bytes);
    const id = await sendBoth();
    await expectHandledOnce(id);
    expect([inbox.isArmed, topics.isArmed]).toEqual([false, false]);
  },
);

test('what Redis gives to connections that died without a word is found and handled once', async () => {
  await serveProxied();
  inbox.freeze();
  topics.freeze();
  const id = await sendBoth();
  await expectHandledOnce(id);
  expect([inbox.connections, topics.connections]).toEqual([2, 2]);
}, 30_000);

test('what Redis gives to connections that were replaced, of which it does not know, is found and handled once', async () => {
  await serveProxied();
  inbox.abandon();
  topics.abandon();
  await eventually(() => inbox.connections === 2 && topics.connections === 2, 'new connections');
  await bothRead();
  const id = await sendBoth();
  const [owner] = await keys.instances();
  await expect(keys.owners(INBOX)).resolves.toEqual({ [owner!]: 1 });
  await expect(keys.owners(TOPIC)).resolves.toEqual({ [owner!]: 1 });
  expect(ran).toEqual([]);
  await expectHandledOnce(id);
}, 30_000);

test('what Redis gives to such a connection of an instance that has closed is handled by another', async () => {
  const app = await serveProxied();
  inbox.abandon();
  topics.abandon();
  await eventually(() => inbox.connections === 2 && topics.connections === 2, 'new connections');
  await app.close();
  const id = await sendBoth();
  expect(Object.keys(await keys.owners(INBOX))).toHaveLength(1);
  await serve({ connection: redis.url, service: 'tasks', lease: LEASE }, TaskController);
  await eventually(() => ran.length >= 2, 'both to be handled', FOUND_WITHIN_MS);
  await keys.settled();
  await expect(caller.answers(id)).resolves.toHaveLength(1);
}, 30_000);
