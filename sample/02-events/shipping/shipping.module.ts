import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { Journal } from '../journal.js';
import { ShippingController } from './shipping.controller.js';

@Module({
  // One event at a time in each instance, so that both have something to do.
  imports: [RedisStreamsModule.forRoot({ ...redisSettings(), service: 'shipping', eventConcurrency: 1 })],
  controllers: [ShippingController],
  providers: [Journal],
})
export class ShippingModule {}
