import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Catch, Controller, Get, Injectable } from '@nestjs/common';
import type { ExceptionFilter, OnModuleInit, PipeTransform } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import { firstValueFrom, of, type Observable } from 'rxjs';
import { REDIS_STREAMS, RedisStreamsModule, RedisStreamsServer } from '../../../lib/index.js';
import { closeAll, connect, onClose, testModule } from '../../support/app.js';
import { RedisServer, freePort } from '../../support/redis-server.js';
import { SHARDS } from '../../support/shards.js';
import { eventually } from '../../support/wait.js';

@Injectable()
class MarkPipe implements PipeTransform {
  transform(value: unknown): unknown {
    return typeof value === 'string' ? `${value} (piped)` : value;
  }
}

@Catch()
class SavingFilter implements ExceptionFilter {
  catch(error: Error): Observable<string> {
    return of(`saved: ${error.message}`);
  }
}

@Controller()
class GreetingController {
  @MessagePattern('greet')
  greet(@Payload() name: string): string {
    return `hello ${name}`;
  }
  @MessagePattern('fail')
  fail(): never {
    throw new Error('as asked');
  }
  @Get('hello')
  hello(): string {
    return 'over http';
  }
}

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterEach(closeAll);
afterAll(() => redis.stop());

const ask = (service: string, pattern: string, data: unknown): Promise<unknown> =>
  firstValueFrom(connect({ connection: redis.url, service }).send<unknown>(pattern, data));

async function hybrid(services: string[], inheritAppConfig: boolean) {
  const app = await NestFactory.create(testModule({ controllers: [GreetingController] }), { logger: false });
  onClose(() => app.close());
  app.useGlobalPipes(new MarkPipe());
  app.useGlobalFilters(new SavingFilter());
  for (const service of services) {
    app.connectMicroservice<MicroserviceOptions>(
      { strategy: new RedisStreamsServer({ connection: redis.url, shards: SHARDS, service }) },
      { inheritAppConfig },
    );
  }
  await app.init();
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  return app;
}

test('a microservice has its own globals', async () => {
  const server = new RedisStreamsServer({ connection: redis.url, shards: SHARDS, service: 'pure' });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(
    testModule({ controllers: [GreetingController] }),
    { strategy: server, logger: false },
  );
  onClose(() => app.close());
  app.useGlobalPipes(new MarkPipe());
  app.useGlobalFilters(new SavingFilter());
  await app.listen();
  await expect(ask('pure', 'greet', 'you')).resolves.toBe('hello you (piped)');
  await expect(ask('pure', 'fail', 'you')).resolves.toBe('saved: as asked');
});

test('a hybrid application answers over HTTP and over Redis, and its globals apply where they are inherited', async () => {
  const app = await hybrid(['hybrid'], true);
  const response = await fetch(`${await app.getUrl()}/hello`);
  await expect(response.text()).resolves.toBe('over http');
  await expect(ask('hybrid', 'greet', 'you')).resolves.toBe('hello you (piped)');
  await expect(ask('hybrid', 'fail', 'you')).resolves.toBe('saved: as asked');
});

test('a hybrid application’s globals do not apply where they are not inherited', async () => {
  await hybrid(['apart'], false);
  await expect(ask('apart', 'greet', 'you')).resolves.toBe('hello you');
  await expect(ask('apart', 'fail', 'you')).rejects.toEqual({
    status: 'error',
    message: 'Internal server error',
  });
});

test('one application serves several services, each with handlers of its own making', async () => {
  await hybrid(['left', 'right'], true);
  await expect(Promise.all([ask('left', 'greet', 'l'), ask('right', 'greet', 'r')])).resolves.toEqual([
    'hello l (piped)',
    'hello r (piped)',
  ]);
});

test('several servers of several applications live in one process', async () => {
  const named = (name: string) => {
    @Controller()
    class NamedController {
      @MessagePattern('name')
      name(): string {
        return name;
      }
    }
    return NamedController;
  };
  for (const name of ['a', 'b', 'c']) {
    const app = await NestFactory.createMicroservice(testModule({ controllers: [named(name)] }), {
      strategy: new RedisStreamsServer({ connection: redis.url, shards: SHARDS, service: name }),
      logger: false,
    });
    onClose(() => app.close());
    await app.listen();
  }
  await expect(Promise.all(['a', 'b', 'c'].map((name) => ask(name, 'name', {})))).resolves.toEqual([
    'a',
    'b',
    'c',
  ]);
});

test('a hybrid application of two transports binds each handler where it belongs', async () => {
  @Controller()
  class TwoTransportsController {
    @MessagePattern('where', REDIS_STREAMS)
    here(): string {
      return 'redis streams';
    }
    @MessagePattern('where', Transport.TCP)
    there(): string {
      return 'tcp';
    }
  }
  const app = await NestFactory.create(testModule({ controllers: [TwoTransportsController] }), {
    logger: false,
  });
  onClose(() => app.close());
  const tcp = { host: '127.0.0.1', port: await freePort() };
  app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options: tcp });
  app.connectMicroservice<MicroserviceOptions>({
    strategy: new RedisStreamsServer({ connection: redis.url, shards: SHARDS, service: 'two' }),
  });
  await app.init();
  await app.startAllMicroservices();
  await expect(ask('two', 'where', {})).resolves.toBe('redis streams');
});

test('the strategy may come from the application itself, by inject and useFactory', async () => {
  const module = testModule({
    imports: [RedisStreamsModule.forRoot({ connection: redis.url, shards: SHARDS, service: 'injected' })],
    controllers: [GreetingController],
  });
  const app = await NestFactory.createMicroservice(module, {
    inject: [RedisStreamsServer],
    useFactory: (server: RedisStreamsServer) => ({ strategy: server }),
    logger: false,
  });
  onClose(() => app.close());
  await app.listen();
  await expect(ask('injected', 'greet', 'you')).resolves.toBe('hello you');
});

test('a backlog is not handled before the application’s providers are ready', async () => {
  const events: string[] = [];
  @Controller()
  class OrderController implements OnModuleInit {
    async onModuleInit(): Promise<void> {
      await new Promise((resolve) => setImmediate(resolve));
      events.push('ready');
    }
    @EventPattern<string>('waiting')
    on(): void {
      events.push('handled');
    }
  }
  const options = { connection: redis.url, service: 'order', namespace: 'order' };
  await firstValueFrom(connect(options).emit('waiting', {}), { defaultValue: undefined });
  const app = await NestFactory.createMicroservice(testModule({ controllers: [OrderController] }), {
    strategy: new RedisStreamsServer({ ...options, shards: SHARDS }),
    logger: false,
  });
  onClose(() => app.close());
  await app.listen();
  await eventually(() => events.includes('handled'), 'the backlog to be handled');
  expect(events).toEqual(['ready', 'handled']);
});
