import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { Journal } from '../journal.js';
import { BillingController } from './billing.controller.js';

@Module({
  // One event at a time in each instance, so that both have something to do.
  imports: [RedisStreamsModule.forRoot({ ...redisSettings(), service: 'billing', eventConcurrency: 1 })],
  controllers: [BillingController],
  providers: [Journal],
})
export class BillingModule {}
