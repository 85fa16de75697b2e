import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Inject, Injectable, type DynamicModule, type OnModuleDestroy } from '@nestjs/common';
import type { INestApplicationContext, INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, type ClientProxy } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { RedisStreamsModule, RedisStreamsServer } from '../../lib/index.js';
import type { RedisStreamsModuleOptions } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { entriesOf, expectRoles, heldBy, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually, type Deferred } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
let running: Deferred;
let release: Deferred;
let apps: INestApplicationContext[] = [];
beforeAll(async () => {
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  running = deferred();
  release = deferred();
  await inspect.flushall();
});
afterEach(async () => {
  await Promise.all(apps.map((app) => app.close()));
  apps = [];
  await closeAll();
});
afterAll(async () => {
  inspect.disconnect();
  await redis.stop();
});

/** A service that is itself a client of two others. */
@Controller()
class RelayController {
  constructor(
    @Inject('MATH') private readonly math: ClientProxy,
    @Inject('ORDERS') private readonly orders: ClientProxy,
  ) {}
  @MessagePattern('double')
  async double(n: number): Promise<number> {
    return firstValueFrom(this.math.send<number>('sum', [n, n]));
  }
  @MessagePattern('slow')
  async slow(n: number): Promise<number> {
    running.resolve();
    await release.promise;
    const sum = await firstValueFrom(this.math.send<number>('sum', [n, 1]));
    await lastValueFrom(this.orders.emit('worked', sum));
    return sum;
  }
  @EventPattern('seen')
  seen(_data: unknown): void {
    // Its presence makes the server read topics.
  }
}

@Controller()
class MathController {
  @MessagePattern('sum')
  sum(numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }
}

@Injectable()
class Witness implements OnModuleDestroy {
  static destroyed = false;
  onModuleDestroy(): void {
    Witness.destroyed = true;
  }
}

function relayModule(options: RedisStreamsModuleOptions = {}): DynamicModule {
  class AppModule {}
  return {
    module: AppModule,
    imports: [
      RedisStreamsModule.forRoot({ connection: redis.url, service: 'relay', ...options }),
      RedisStreamsModule.forClients([
        { name: 'MATH', service: 'math' },
        { name: 'ORDERS', service: 'orders' },
      ]),
    ],
    controllers: [RelayController],
    providers: [Witness],
  };
}

/** A pure microservice whose strategy is the module's server. */
async function listenPure(): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice(relayModule(), {
    logger: false,
    inject: [RedisStreamsServer],
    useFactory: (server: RedisStreamsServer) => ({ strategy: server }),
  } as never);
  apps.push(app);
  await app.listen();
  return app;
}

/** An HTTP application that is a microservice as well. */
async function listenHybrid() {
  const app = await NestFactory.create(relayModule(), { logger: false });
  apps.push(app);
  app.connectMicroservice({ strategy: app.get(RedisStreamsServer) }, { inheritAppConfig: true });
  await app.init();
  await app.startAllMicroservices();
  return app;
}

test('server and clients of one module share one command connection and one reply stream', async () => {
  const app = await listenPure();
  await expectRoles(inspect, 'commands', 'control', 'inbox', 'topics');
  await serve({ connection: redis.url, service: 'math', namespace: 'nest' }, MathController);
  await expectRoles(inspect, 'commands', 'control', 'inbox', 'topics', 'commands', 'control', 'inbox');
  const math = app.get<ClientProxy>('MATH', { strict: false });
  const orders = app.get<ClientProxy>('ORDERS', { strict: false });
  await Promise.all([math.connect(), orders.connect()]);
  await expect(firstValueFrom(math.send('sum', [1, 2]))).resolves.toBe(3);
  await lastValueFrom(orders.emit('seen', 1));
  await expectRoles(
    inspect,
    'commands',
    'control',
    'inbox',
    'topics',
    'replies',
    'commands',
    'control',
    'inbox',
  );
  await expect(inspect.keys('nest:replies:*')).resolves.toHaveLength(1);
  expect((math as unknown as { unwrap(): unknown }).unwrap()).toBe(app.get(RedisStreamsServer).unwrap());
});

test('a module that only sends opens no connection of a server, and none before its first message', async () => {
  class AppModule {}
  const app = await NestFactory.createApplicationContext(
    {
      module: AppModule,
      imports: [
        RedisStreamsModule.forRoot({ connection: redis.url }),
        RedisStreamsModule.forClients([{ name: 'ORDERS', service: 'orders' }, { name: 'EVENTS' }]),
      ],
    },
    { logger: false },
  );
  apps.push(app);
  await expectRoles(inspect);
  await lastValueFrom(app.get<ClientProxy>('EVENTS', { strict: false }).emit('noted', 1));
  await expectRoles(inspect, 'commands', 'replies');
  await app.close();
  await expectRoles(inspect);
});

test('one client of a module that is closed leaves the others and the server alone', async () => {
  await serve({ connection: redis.url, service: 'math' }, MathController);
  const app = await listenPure();
  const math = app.get<ClientProxy>('MATH', { strict: false });
  const orders = app.get<ClientProxy>('ORDERS', { strict: false });
  await Promise.all([math.connect(), orders.connect()]);
  const waiting = firstValueFrom(orders.send('never', 1)).catch((error: unknown) => error);
  await eventually(() => heldBy(orders as never).pending === 1, 'a pending request');
  await orders.close();
  await expect(waiting).resolves.toMatchObject({ code: 'CONNECTION_CLOSED' });
  await expect(firstValueFrom(math.send('sum', [1]))).resolves.toBe(1);
  const outside = connect({ connection: redis.url, service: 'relay' });
  await expect(firstValueFrom(outside.send('double', 4))).resolves.toBe(8);
});

test.each([
  ['a pure microservice', listenPure],
  ['a hybrid application', listenHybrid],
])(
  'closing %s lets a running handler use its clients to the end, and leaves no connection',
  async (_, listen) => {
    Witness.destroyed = false;
    await serve({ connection: redis.url, service: 'math' }, MathController);
    const outside = connect({ connection: redis.url, service: 'relay' });
    const app = await listen();
    const reply = firstValueFrom(outside.send<number>('slow', 41));
    await running.promise;
    const closed = app.close();
    release.resolve();
    await closed;
    await expect(reply).resolves.toBe(42);
    expect(Witness.destroyed).toBe(true);
    expect((await entriesOf(inspect, '{nest:0}:topic:worked')).map(({ data }) => data)).toEqual(['42']);
    await expectRoles(inspect, 'commands', 'control', 'inbox', 'commands', 'replies');
    await closeAll();
    await expectRoles(inspect);
  },
);

test('an application that never listened closes without a connection having been made', async () => {
  const app = await NestFactory.create(relayModule(), { logger: false });
  await app.init();
  await app.close();
  await expectRoles(inspect);
});
