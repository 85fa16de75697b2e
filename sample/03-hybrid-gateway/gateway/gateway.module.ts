import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { ChangesController } from './changes.controller.js';
import { PRICES, PricesHttpController } from './prices-http.controller.js';

@Module({
  imports: [
    RedisStreamsModule.forRoot({ ...redisSettings(), service: 'gateway', timeout: 5_000 }),
    RedisStreamsModule.forClients([{ name: PRICES, service: 'prices' }]),
  ],
  controllers: [ChangesController, PricesHttpController],
})
export class GatewayModule {}
