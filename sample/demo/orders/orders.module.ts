import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { EVENTS, OrdersController } from './orders.controller.js';

/** Short, since one of the instances is killed, and the other is to take over soon. The default is 10 s. */
const LEASE_MS = 1_000;

@Module({
  imports: [
    RedisStreamsModule.forRoot({
      ...redisSettings(),
      service: 'orders',
      lease: LEASE_MS,
      shutdownTimeout: 1_000,
    }),
    RedisStreamsModule.forClients([{ name: EVENTS }]),
  ],
  controllers: [OrdersController],
})
export class OrdersModule {}
