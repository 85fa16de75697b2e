import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import {
  ConfigurationError,
  ConnectError,
  LayoutMismatchError,
  RedisStreamsServer,
  type RedisStreamsServerOptions,
} from '../../lib/index.js';
import {
  closeAll,
  connect,
  inspect,
  Lines,
  onClose,
  serve,
  serveModule,
  testModule,
} from '../support/app.js';
import { RedisServer, freePort } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

@Controller()
class ListeningController {
  @MessagePattern('ask')
  ask(): string {
    return 'asked';
  }
  @EventPattern<string>('told')
  on(): void {
    return;
  }
}

let redis: RedisServer;
let look: Redis;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
});
afterEach(closeAll);
afterAll(() => redis.stop());

const options = (): RedisStreamsServerOptions => ({ connection: redis.url, service: 'listening' });

async function appOf(settings: RedisStreamsServerOptions) {
  const server = new RedisStreamsServer(settings);
  const app = await NestFactory.createMicroservice(testModule({ controllers: [ListeningController] }), {
    strategy: server,
    logger: false,
  });
  onClose(() => app.close());
  return { app, server };
}

test('app.listen() rejects within connectTimeout where Redis is down, says where it looked, and the app can be closed', async () => {
  const port = await freePort();
  const { app } = await appOf({
    connection: `redis://user:secret@127.0.0.1:${port}`,
    service: 'listening',
    connectTimeout: 300,
  });
  const since = performance.now();
  const error = await app.listen().then(
    () => undefined,
    (reason: unknown) => reason as Error,
  );
  expect(performance.now() - since).toBeLessThan(2_000);
  expect(error).toBeInstanceOf(ConnectError);
  expect(error!.message).toContain(`127.0.0.1:${port}`);
  expect(error!.message).toContain('300 ms');
  expect(error!.message).toContain('ECONNREFUSED');
  expect(error!.message).not.toContain('secret');
  await app.close();
});

test('app.listen() rejects where the option service is missing, and names it', async () => {
  const { app } = await appOf({ connection: redis.url });
  const listening = app.listen();
  await expect(listening).rejects.toThrow(ConfigurationError);
  await expect(listening).rejects.toThrow(/'service'.*missing/);
});

test('app.listen() rejects where the password is wrong, without trying for long', async () => {
  await look.acl('SETUSER', 'someone', 'on', '>right', '~*', '&*', '+@all');
  const connection = { port: redis.port, host: '127.0.0.1', username: 'someone', password: 'wrong' };
  const { app } = await appOf({ connection, service: 'listening' });
  const since = performance.now();
  await expect(app.listen()).rejects.toThrow(/WRONGPASS/);
  expect(performance.now() - since).toBeLessThan(2_000);
});

test('app.listen() rejects where Redis does not let the group be made', async () => {
  await look.acl('SETUSER', 'reader', 'on', '>pw', '~*', '&*', '+@all', '-xgroup');
  const connection = { port: redis.port, host: '127.0.0.1', username: 'reader', password: 'pw' };
  const { app } = await appOf({ connection, service: 'listening' });
  await expect(app.listen()).rejects.toThrow(/can't run this command.*XGROUP CREATE|NOPERM.*xgroup/i);
});

test('app.listen() rejects where the inbox is not a stream', async () => {
  await look.set('{nest:0}:inbox:listening', 'text');
  const { app } = await appOf(options());
  await expect(app.listen()).rejects.toThrow(/WRONGTYPE/);
});

test('one server cannot listen twice', async () => {
  const { server } = await serve(options(), ListeningController);
  const error = await new Promise((resolve) => server.listen(resolve));
  expect(error).toBeInstanceOf(ConfigurationError);
  await expect(firstValueFrom(connect(options()).send('ask', {}))).resolves.toBe('asked');
});

test('listen() calls back once it reads: the group exists, and a request written before is answered', async () => {
  const { app } = await appOf(options());
  const answer = firstValueFrom(connect(options()).send('ask', {}));
  await eventually(
    async () => (await look.xlen('{nest:0}:inbox:listening')) === 1,
    'the request to be stored',
  );
  await app.listen();
  const groups = (await look.xinfo('GROUPS', '{nest:0}:inbox:listening')) as unknown[][];
  expect(groups.map((group) => group[group.indexOf('name') + 1])).toEqual(['listening']);
  const list = (await look.client('LIST')) as string;
  expect(list).toMatch(/name=nestjs-redis-streams:inbox .*cmd=xreadgroup/);
  await expect(answer).resolves.toBe('asked');
});

test('status, on() and unwrap() are as Nest has them', async () => {
  const { app, server } = await appOf(options());
  const states: string[] = [];
  const heard: string[] = [];
  const subscription = app.status.subscribe((status) => states.push(status));
  app.on('ready', () => heard.push('ready'));
  app.on('reconnecting', () => heard.push('reconnecting'));
  app.on('close', () => heard.push('close'));
  expect(() => server.unwrap()).toThrow(/not open/);
  expect(states).toEqual([]);
  await app.listen();
  expect(states).toEqual(['connected']);
  expect(heard).toEqual(['ready']);
  const client = app.unwrap<Redis>();
  expect(client).toBe(server.unwrap());
  await expect(client.ping()).resolves.toBe('PONG');
  const late: string[] = [];
  server.status.subscribe((status) => late.push(status));
  expect(late).toEqual(['connected']);
  const id = await client.client('ID');
  await look.client('KILL', 'ID', id);
  await eventually(() => states.length === 3, 'a reconnect');
  expect(states).toEqual(['connected', 'reconnecting', 'connected']);
  expect(heard).toEqual(['ready', 'reconnecting', 'ready']);
  server.on('reconnecting', () => heard.push('reconnecting, heard late'));
  await app.close();
  expect(states).toEqual(['connected', 'reconnecting', 'connected', 'disconnected']);
  expect(heard).toEqual(['ready', 'reconnecting', 'ready', 'close']);
  expect(() => server.unwrap()).toThrow(/not open/);
  expect(subscription.closed).toBe(false);
  subscription.unsubscribe();
});

test('an application that failed to listen was never connected, as its status tells', async () => {
  const { app } = await appOf({
    ...options(),
    connection: `redis://127.0.0.1:${await freePort()}`,
    connectTimeout: 100,
  });
  const states: string[] = [];
  app.status.subscribe((status) => states.push(status));
  await expect(app.listen()).rejects.toThrow(ConnectError);
  await app.close();
  expect(states).toEqual([]);
});

test('the layout is written by the first, and the instance registered and its lease taken before its first read', async () => {
  const commands: string[] = [];
  const monitor = await look.monitor();
  onClose(() => monitor.disconnect());
  monitor.on('monitor', (_time: string, args: string[]) =>
    commands.push(args.slice(0, 2).join(' ').toLowerCase()),
  );
  await serve(options(), ListeningController);
  await eventually(() => commands.some((command) => command.startsWith('xreadgroup')), 'the first read');
  const first = (start: string): number => commands.findIndex((command) => command.startsWith(start));
  const order = [
    'hsetnx {nest:0}:layout',
    'set {nest:0}:lease:listening:',
    'hset {nest:0}:instances:listening',
    'xgroup create',
    'xreadgroup group',
  ];
  const positions = order.map(first);
  expect(positions.every((position) => position >= 0)).toBe(true);
  expect(positions).toEqual([...positions].sort((a, b) => a - b));
  await expect(look.hgetall('{nest:0}:layout')).resolves.toEqual({
    format: '1',
    minReader: '1',
    shards: '1',
    partitions: '16',
  });
  const instances = await look.hgetall('{nest:0}:instances:listening');
  expect(Object.keys(instances)).toHaveLength(1);
  const [seconds] = await look.time();
  expect(Number(Object.values(instances)[0]) / 1_000).toBeCloseTo(Number(seconds), -1);
});

test.each([
  ['shards', { shards: '4' }, /has 4 shards.*expects 1/],
  ['partitions', { partitions: '32' }, /has 32 partitions.*expects 16/],
  ['a newer format', { format: '2', minReader: '2' }, /format 2.*reads up to 1/],
])('a layout that does not fit is an error at listen and at connect: %s', async (_, fields, message) => {
  const layout = { format: '1', minReader: '1', shards: '1', partitions: '16', ...fields };
  await look.hset('{nest:0}:layout', layout);
  const { app } = await appOf(options());
  const listening = app.listen();
  await expect(listening).rejects.toThrow(LayoutMismatchError);
  await expect(listening).rejects.toThrow(message);
  const connecting = connect(options()).connect();
  await expect(connecting).rejects.toThrow(LayoutMismatchError);
  await expect(connecting).rejects.toThrow(message);
  await expect(look.hgetall('{nest:0}:layout')).resolves.toEqual(layout);
  await expect(look.keys('*')).resolves.toEqual(['{nest:0}:layout']);
});

test('a newer layout that old readers may read, and fields that nobody knows yet, are accepted', async () => {
  const layout = { format: '2', minReader: '1', shards: '1', partitions: '16', future: 'yes' };
  await look.hset('{nest:0}:layout', layout);
  await serve(options(), ListeningController);
  await expect(firstValueFrom(connect(options()).send('ask', {}))).resolves.toBe('asked');
  await expect(look.hgetall('{nest:0}:layout')).resolves.toEqual(layout);
});

test('a pattern is in the set of topics, and announced, before its first event is stored', async () => {
  const commands: string[] = [];
  const monitor = await look.monitor();
  onClose(() => monitor.disconnect());
  monitor.on('monitor', (_time: string, args: string[]) =>
    commands.push(args.slice(0, 2).join(' ').toLowerCase()),
  );
  const client = connect(options());
  for (let i = 0; i < 3; i++) {
    await firstValueFrom(client.emit('told', i), { defaultValue: undefined });
  }
  await expect(look.smembers('{nest:0}:topics')).resolves.toEqual(['told']);
  const announced = await look.xrange('{nest:0}:announce', '-', '+');
  expect(announced).toHaveLength(1);
  expect(announced[0]![1]).toContain('told');
  const added = commands.findIndex((command) => command === 'sadd {nest:0}:topics');
  const published = commands.findIndex((command) => command === 'xadd {nest:0}:topic:told');
  const announcedAt = commands.findIndex((command) => command === 'xadd {nest:0}:announce');
  expect(added).toBeGreaterThanOrEqual(0);
  expect(announcedAt).toBeGreaterThanOrEqual(0);
  expect(published).toBeGreaterThan(Math.max(added, announcedAt));
});

test('a Redis that may delete streams when memory runs short is warned of', async () => {
  await look.config('SET', 'maxmemory-policy', 'allkeys-lru');
  const lines = new Lines();
  await serveModule(options(), { controllers: [ListeningController] }, { logger: lines });
  await look.config('SET', 'maxmemory-policy', 'noeviction');
  expect(lines.with("maxmemory-policy 'allkeys-lru'")[0]).toMatch(/^warn: .*noeviction/);
});
