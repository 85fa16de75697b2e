import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import {
  Controller,
  Inject,
  Injectable,
  type DynamicModule,
  type INestApplicationContext,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Client,
  ClientProxyFactory,
  ClientsModule,
  MessagePattern,
  type ClientProxy,
} from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom, retry, type Observable } from 'rxjs';
import { RedisStreamsClient } from '../../lib/index.js';
import type { RedisStreamsClientOptions } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { entriesOf, expectRoles, heldBy, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const INBOX = '{nest:0}:inbox:math';
const TOPIC = '{nest:0}:topic:noted';

let redis: RedisServer;
let inspect: Redis;
let app: INestApplicationContext | undefined;
beforeAll(async () => {
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(() => inspect.flushall());
afterEach(async () => {
  await app?.close();
  app = undefined;
  await closeAll();
});
afterAll(async () => {
  inspect.disconnect();
  await redis.stop();
});

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }
}

const options = (): RedisStreamsClientOptions => ({ connection: redis.url, service: 'math' });
const serveMath = (): Promise<unknown> => serve(options(), MathController);

async function start(...imports: DynamicModule[]): Promise<INestApplicationContext> {
  class AppModule {}
  app = await NestFactory.createApplicationContext({ module: AppModule, imports }, { logger: false });
  return app;
}

async function expectSum(client: ClientProxy): Promise<void> {
  await expect(firstValueFrom(client.send('sum', [1, 2]))).resolves.toBe(3);
}

test('ClientsModule.register with customClass; the application closes the client', async () => {
  const context = await start(
    ClientsModule.register([{ name: 'MATH', customClass: RedisStreamsClient, options: options() }]),
  );
  await expectRoles(inspect);
  await serveMath();
  await expectSum(context.get('MATH', { strict: false }));
  await context.close();
  await closeAll();
  await expectRoles(inspect);
});

test('ClientsModule.registerAsync with customClass', async () => {
  await serveMath();
  const context = await start(
    ClientsModule.registerAsync([
      {
        name: 'MATH',
        useFactory: async () => Promise.resolve({ customClass: RedisStreamsClient, options: options() }),
      },
    ]),
  );
  await expectSum(context.get('MATH', { strict: false }));
});

test('ClientProxyFactory.create and new', async () => {
  await serveMath();
  const made = ClientProxyFactory.create({ customClass: RedisStreamsClient, options: options() });
  expect(made).toBeInstanceOf(RedisStreamsClient);
  await expectSum(made);
  await made.close();
  await expectSum(connect(options()));
});

test('a @Client property is made by the application, and closed by it', async () => {
  await serveMath();
  const clientOptions = { customClass: RedisStreamsClient, options: options() };
  @Injectable()
  class Caller {
    @Client(clientOptions)
    client!: ClientProxy;
  }
  @Controller()
  class CallerController {
    constructor(@Inject(Caller) readonly caller: Caller) {}
  }
  class AppModule {}
  const microservice = await NestFactory.createMicroservice(
    { module: AppModule, providers: [Caller], controllers: [CallerController] },
    {
      logger: false,
      strategy: { listen: (callback: () => void) => callback(), close: () => undefined } as never,
    },
  );
  await microservice.listen();
  const caller = microservice.get(Caller);
  await expectSum(caller.client);
  await expectRoles(inspect, 'commands', 'control', 'inbox', 'commands', 'replies');
  await microservice.close();
  await expectRoles(inspect, 'commands', 'control', 'inbox');
});

test('send() is cold: nothing is sent without a subscription, and each subscription is a request of its own', async () => {
  const client = connect(options());
  await client.connect();
  const sum = client.send<number>('sum', [1, 2]);
  // What is emitted afterwards is stored, so that what was to be sent before would be there.
  await lastValueFrom(client.emit('noted', 1));
  await expect(inspect.exists(INBOX)).resolves.toBe(0);
  const replies = [firstValueFrom(sum), firstValueFrom(sum)];
  await eventually(async () => (await inspect.xlen(INBOX)) === 2, 'two requests');
  const entries = await entriesOf(inspect, INBOX);
  expect(new Set(entries.map(({ id }) => id)).size).toBe(2);
  expect(new Set(entries.map(({ reply }) => reply)).size).toBe(1);
  await serveMath();
  await expect(Promise.all(replies)).resolves.toEqual([3, 3]);
});

test('retry() sends again, with another id', async () => {
  const client = connect({ ...options(), timeout: 150 });
  const sum = firstValueFrom(client.send('sum', [1, 2]).pipe(retry(20)));
  const ids = new Set<string | undefined>();
  await eventually(async () => {
    // What has timed out undelivered is deleted: there is one at a time.
    for (const { id } of await entriesOf(inspect, INBOX)) {
      ids.add(id);
    }
    return ids.size === 2;
  }, 'a second attempt');
  await serveMath();
  await expect(sum).resolves.toBe(3);
});

test('a request that is unsubscribed while the client connects is never sent', async () => {
  const client = connect(options());
  client.send('sum', [1]).subscribe().unsubscribe();
  await lastValueFrom(client.emit('noted', 1));
  await expect(inspect.exists(INBOX)).resolves.toBe(0);
});

test('emit() is hot: it is stored once, without a subscription and with several', async () => {
  const client = connect(options());
  const emitted: Observable<unknown> = client.emit('noted', { n: 1 });
  await eventually(async () => (await inspect.xlen(TOPIC)) === 1, 'the event');
  // Whoever subscribes later is told that it is done, and nothing is sent again.
  await expect(lastValueFrom(emitted, { defaultValue: 'done' })).resolves.toBe('done');
  emitted.subscribe();
  await expect(lastValueFrom(client.emit('noted', { n: 2 }))).resolves.toBeUndefined();
  const entries = await entriesOf(inspect, TOPIC);
  expect(entries.map(({ data }) => data)).toEqual(['{"n":1}', '{"n":2}']);
  // An event has neither id nor an address for a reply.
  expect(Object.keys(entries[0]!)).toEqual(['pattern', 'data']);
});

test('the observable of emit() completes only when Redis has stored the event', async () => {
  const client = connect(options());
  for (let i = 1; i <= 20; i++) {
    await lastValueFrom(client.emit('noted', i));
    await expect(inspect.xlen(TOPIC)).resolves.toBe(i);
  }
});

test.each([null, undefined])('a pattern or data of %s is refused without touching Redis', async (nil) => {
  const client = connect(options());
  for (const call of [
    () => client.send(nil, 1),
    () => client.send('sum', nil),
    () => client.emit(nil, 1),
    () => client.emit('noted', nil),
  ]) {
    const error: unknown = await lastValueFrom(call()).catch((reason: unknown) => reason);
    // Nest exports the class from different places in its versions.
    expect((error as Error).constructor.name).toBe('InvalidMessageException');
  }
  await expectRoles(inspect);
});

test.each([0, '', false])('data of %p is sent', async (data) => {
  const client = connect(options());
  await lastValueFrom(client.emit('noted', data));
  expect((await entriesOf(inspect, TOPIC)).map((entry) => entry['data'])).toEqual([JSON.stringify(data)]);
});

test('send() without a service names the option that is missing; emit() needs none', async () => {
  const client = connect({ connection: redis.url });
  await expect(firstValueFrom(client.send('sum', [1]))).rejects.toThrow(/'service'.*missing/);
  await lastValueFrom(client.emit('noted', 1));
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
});

test('status and on() tell of the connection; unwrap() gives the ioredis instance once connected', async () => {
  const client = connect(options());
  const seen: string[] = [];
  client.status.subscribe((status) => seen.push(status));
  client.on('ready', () => seen.push('on ready'));
  client.on('reconnecting', () => seen.push('on reconnecting'));
  client.on('close', () => seen.push('on close'));
  expect(() => client.unwrap()).toThrow(/not open/);
  await client.connect();
  expect(seen).toEqual(['on ready', 'connected']);
  await expect(client.unwrap().ping()).resolves.toBe('PONG');
  const id = await client.unwrap().client('ID');
  await inspect.client('KILL', 'ID', id);
  await eventually(() => seen.length === 6, 'a reconnect');
  expect(seen.slice(2, 4).sort()).toEqual(['on reconnecting', 'reconnecting']);
  expect(seen.slice(4).sort()).toEqual(['connected', 'on ready']);
  await client.close();
  expect(seen.slice(6).sort()).toEqual(['disconnected', 'on close']);
});
