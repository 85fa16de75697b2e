import 'reflect-metadata';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Inject, Injectable, Module, type INestApplicationContext } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, type ClientProxy } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import {
  ConfigurationError,
  InjectRedisStreamsClient,
  RedisStreamsClient,
  RedisStreamsModule,
  RedisStreamsServer,
  type RedisStreamsModuleOptions,
  type RedisStreamsOptionsFactory,
} from '../../lib/index.js';
import { closeAll, serve } from '../support/app.js';
import { inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';

const ORDERS = Symbol('orders');

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

@Injectable()
class Caller {
  constructor(
    @InjectRedisStreamsClient('MATH') readonly decorated: ClientProxy,
    @Inject('MATH') readonly plain: ClientProxy,
    @Inject(ORDERS) readonly orders: ClientProxy,
  ) {}
}

/** What settings come from in an application: a module that others import. */
@Injectable()
class Settings {
  readonly namespace = 'chosen';
  get url(): string {
    return redis.url;
  }
}
@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

@Injectable()
class OptionsMaker implements RedisStreamsOptionsFactory {
  made = 0;
  async createRedisStreamsOptions(): Promise<RedisStreamsModuleOptions> {
    this.made++;
    return Promise.resolve({ connection: redis.url, namespace: 'chosen' });
  }
}
@Module({ providers: [OptionsMaker], exports: [OptionsMaker] })
class OptionsMakerModule {}

async function start(...imports: (DynamicModule | (new () => object))[]): Promise<INestApplicationContext> {
  class AppModule {}
  app = await NestFactory.createApplicationContext(
    { module: AppModule, imports, providers: [] },
    { logger: false, abortOnError: false },
  );
  return app;
}

const CLIENTS = (): DynamicModule => RedisStreamsModule.forClients([{ name: 'MATH', service: 'math' }]);

/** Sends an event through the client and looks where it lies. */
async function expectNamespace(context: INestApplicationContext, namespace: string): Promise<void> {
  await lastValueFrom(context.get<ClientProxy>('MATH', { strict: false }).emit('noted', 1));
  await expect(inspect.xlen(`{${namespace}:0}:topic:noted`)).resolves.toBe(1);
}

test('forRoot and forClients: clients are injected by decorator and by token, strings and symbols', async () => {
  await serve({ connection: redis.url, service: 'math' }, MathController);
  class FeatureModule {}
  const feature: DynamicModule = {
    module: FeatureModule,
    imports: [
      RedisStreamsModule.forClients([
        { name: 'MATH', service: 'math' },
        { name: ORDERS, service: 'orders', timeout: 50 },
      ]),
    ],
    providers: [Caller],
  };
  const context = await start(RedisStreamsModule.forRoot({ connection: redis.url }), feature);
  const caller = context.get(Caller, { strict: false });
  expect(caller.decorated).toBe(caller.plain);
  expect(caller.decorated).toBeInstanceOf(RedisStreamsClient);
  expect(caller.orders).not.toBe(caller.plain);
  await expect(firstValueFrom(caller.decorated.send('sum', [1, 2]))).resolves.toBe(3);
  // Each has its own service and timeout.
  await expect(firstValueFrom(caller.orders.send('sum', [1]))).rejects.toMatchObject({
    code: 'REQUEST_TIMEOUT',
    service: 'orders',
    timeout: 50,
  });
});

test('clients take the defaults of forRoot, and what they set themselves goes before', async () => {
  const context = await start(
    RedisStreamsModule.forRoot({ connection: redis.url, timeout: 400, namespace: 'chosen' }),
    RedisStreamsModule.forClients([
      { name: 'MATH', service: 'math' },
      { name: ORDERS, service: 'orders', timeout: 600 },
    ]),
  );
  const timeoutOf = (name: string | symbol): Promise<unknown> =>
    firstValueFrom(context.get<ClientProxy>(name, { strict: false }).send('sum', [1])).catch(
      (error: unknown) => (error as { timeout: number }).timeout,
    );
  await expect(timeoutOf('MATH')).resolves.toBe(400);
  await expect(timeoutOf(ORDERS)).resolves.toBe(600);
  await expectNamespace(context, 'chosen');
});

test('forRootAsync with useFactory, imports and inject', async () => {
  const root = RedisStreamsModule.forRootAsync({
    imports: [SettingsModule],
    inject: [Settings],
    useFactory: async (settings: Settings) =>
      Promise.resolve({ connection: settings.url, namespace: settings.namespace }),
  });
  await expectNamespace(await start(root, CLIENTS()), 'chosen');
});

test('forRootAsync with useClass makes the class itself', async () => {
  const context = await start(RedisStreamsModule.forRootAsync({ useClass: OptionsMaker }), CLIENTS());
  expect(context.get(OptionsMaker, { strict: false }).made).toBe(1);
  await expectNamespace(context, 'chosen');
});

test('forRootAsync with useExisting takes the instance that another module has', async () => {
  const context = await start(
    RedisStreamsModule.forRootAsync({ imports: [OptionsMakerModule], useExisting: OptionsMaker }),
    CLIENTS(),
  );
  expect(context.select(OptionsMakerModule).get(OptionsMaker).made).toBe(1);
  await expectNamespace(context, 'chosen');
});

test('forClientsAsync with useFactory, imports and inject', async () => {
  await serve({ connection: redis.url, service: 'chosen' }, MathController);
  const context = await start(
    RedisStreamsModule.forRoot({ connection: redis.url }),
    RedisStreamsModule.forClientsAsync([
      {
        name: 'MATH',
        imports: [SettingsModule],
        inject: [Settings],
        useFactory: async (settings: Settings) => Promise.resolve({ service: settings.namespace }),
      },
    ]),
  );
  await expect(
    firstValueFrom(context.get<ClientProxy>('MATH', { strict: false }).send('sum', [2, 3])),
  ).resolves.toBe(5);
});

test('forRootAsync without a source of options is refused', () => {
  expect(() => RedisStreamsModule.forRootAsync({})).toThrow(ConfigurationError);
  expect(() => RedisStreamsModule.forRootAsync({})).toThrow(/useFactory, useClass and useExisting/);
});

test.each<[string, object, RegExp]>([
  ['an unknown option', { servise: 'math' }, /no option 'servise'.*service/],
  ['a bad value', { concurrency: 0 }, /'concurrency'.*from 1 to .*not 0/],
  ['a bad value for clients', { timeout: -1 }, /'timeout'.*not -1/],
])('forRoot refuses %s when the application starts', async (_, options, message) => {
  const starting = start(RedisStreamsModule.forRoot({ connection: redis.url, ...options }));
  await expect(starting).rejects.toThrow(message);
  await expect(starting).rejects.toBeInstanceOf(ConfigurationError);
});

test("a client's unknown option is refused, and so is a connection of its own", async () => {
  const root = RedisStreamsModule.forRoot({ connection: redis.url });
  const withClient = (options: object): Promise<unknown> =>
    start(root, RedisStreamsModule.forClients([{ name: 'MATH', ...options }]));
  await expect(withClient({ timeOut: 1 })).rejects.toThrow(/no option 'timeOut'/);
  await expect(withClient({ connection: 'redis://127.0.0.1:1' })).rejects.toThrow(/connection/);
  await expect(withClient({ namespace: 'other' })).rejects.toThrow(/namespace/);
});

test('listening without a service names the option that is missing', async () => {
  class AppModule {}
  const module: DynamicModule = {
    module: AppModule,
    imports: [RedisStreamsModule.forRoot({ connection: redis.url })],
  };
  const web = await NestFactory.create(module, { logger: false });
  web.connectMicroservice({ strategy: web.get(RedisStreamsServer) });
  await expect(web.startAllMicroservices()).rejects.toThrow(/'service'.*missing/);
  await web.close();
});
