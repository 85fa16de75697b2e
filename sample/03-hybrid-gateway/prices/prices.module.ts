import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { EVENTS, PricesController } from './prices.controller.js';

@Module({
  imports: [
    RedisStreamsModule.forRoot({ ...redisSettings(), service: 'prices' }),
    RedisStreamsModule.forClients([{ name: EVENTS }]),
  ],
  controllers: [PricesController],
})
export class PricesModule {}
