import { Module } from '@nestjs/common';
import { RedisStreamsModule } from 'nestjs-redis-streams';
import { redisSettings } from '../../support/settings.js';
import { BillingController } from './billing.controller.js';
import { TaxRates } from './tax-rates.js';
import { UndertakerService } from './undertaker.service.js';

@Module({
  imports: [
    RedisStreamsModule.forRoot({
      ...redisSettings(),
      service: 'billing',
      // Short, so that the sample ends soon. The default is 5 deliveries, and pauses that grow from 1 s to 1 min.
      retry: { maxDeliveries: 3, backoff: { type: 'fixed', delay: 300 } },
    }),
  ],
  controllers: [BillingController],
  providers: [TaxRates, UndertakerService],
})
export class BillingModule {}
