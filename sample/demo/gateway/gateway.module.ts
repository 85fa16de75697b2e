import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { ORDERS, OrdersHttpController } from './orders-http.controller.js';

@Module({
  imports: [
    RedisStreamsModule.forRoot({ ...redisSettings(), timeout: 10_000 }),
    RedisStreamsModule.forClients([{ name: ORDERS, service: 'orders' }]),
  ],
  controllers: [OrdersHttpController],
})
export class GatewayModule {}
