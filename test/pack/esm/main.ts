import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { Controller, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type ClientProxy, Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ConfigurationError,
  InjectRedisStreamsClient,
  MsgpackCodec,
  REDIS_STREAMS,
  RedisStreamsClient,
  RedisStreamsContext,
  RedisStreamsModule,
  RedisStreamsRecordBuilder,
  RedisStreamsServer,
} from 'nestjs-redis-streams';
import { firstValueFrom } from 'rxjs';

const WITHIN_MS = 10_000;
const connection = process.argv[2];
assert(connection, 'usage: node main.js <redis url>');

let noteEvent: (text: string) => void;
const eventArrived = new Promise<string>((resolve) => (noteEvent = resolve));

@Controller()
class OrdersController {
  @MessagePattern('sum', REDIS_STREAMS)
  sum(@Payload() numbers: number[], @Ctx() context: RedisStreamsContext): string {
    return `${numbers.reduce((a, b) => a + b, 0)} for ${context.headers['tenant']}`;
  }

  // Without <string>, Nest 12.1 takes the pattern for a key of typed events, and refuses a second parameter with a type.
  @EventPattern<string>('order.placed')
  placed(@Payload() order: { id: number }, @Ctx() context: RedisStreamsContext): void {
    noteEvent(`${context.pattern} ${order.id}`);
  }
}

@Injectable()
class Shop {
  constructor(@InjectRedisStreamsClient('ORDERS') private readonly orders: ClientProxy) {}

  sum(numbers: number[]): Promise<string> {
    const record = new RedisStreamsRecordBuilder(numbers)
      .setHeaders({ tenant: 'acme' })
      .setTimeout(WITHIN_MS);
    return firstValueFrom(this.orders.send<string>('sum', record.build()));
  }

  async place(id: number): Promise<void> {
    await firstValueFrom(this.orders.emit('order.placed', { id }), { defaultValue: undefined });
  }
}

@Module({
  imports: [
    RedisStreamsModule.forRoot({ connection, namespace: 'pack-esm', service: 'orders' }),
    RedisStreamsModule.forClients([{ name: 'ORDERS', service: 'orders' }]),
  ],
  controllers: [OrdersController],
  providers: [Shop],
})
class AppModule {}

const app = await NestFactory.createMicroservice(AppModule, {
  inject: [RedisStreamsServer],
  useFactory: (server: RedisStreamsServer) => ({ strategy: server }),
  logger: ['error', 'warn'],
});
await app.listen();
const shop = app.get(Shop);
assert.equal(await shop.sum([1, 2, 3]), '6 for acme');
await shop.place(7);
const event = await within(eventArrived);
assert.equal(event, 'order.placed 7');
await app.close();

// The optional peer is not installed here: only who asks for it is told.
await assert.rejects(import('msgpackr' as string), { code: 'ERR_MODULE_NOT_FOUND' });
const packed = new RedisStreamsClient({ connection, codec: new MsgpackCodec() });
await assert.rejects(packed.connect(), (error) => {
  assert(error instanceof ConfigurationError);
  assert.match(error.message, /'codec'.*npm install msgpackr/);
  return true;
});
await packed.close();

// Both builds in one process, as when a CommonJS dependency uses this package too: handlers are bound by this symbol.
const required = createRequire(import.meta.url)(
  'nestjs-redis-streams',
) as typeof import('nestjs-redis-streams');
assert.notEqual(required.RedisStreamsServer, RedisStreamsServer);
assert.equal(required.REDIS_STREAMS, REDIS_STREAMS);

// No process.exit(): that the process ends by itself shows that close() left nothing open.
process.stdout.write(`sum 1+2+3 = 6, ${event}\n`);

function within<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Nothing within ${WITHIN_MS} ms`)), WITHIN_MS);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}
