import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { EVENTS, OrdersController } from './orders.controller.js';

@Module({
  imports: [
    RedisStreamsModule.forRoot({ ...redisSettings(), service: 'orders', shutdownTimeout: 1_000 }),
    RedisStreamsModule.forClients([{ name: EVENTS }]),
  ],
  controllers: [OrdersController],
})
export class OrdersModule {}
