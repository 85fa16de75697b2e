import 'reflect-metadata';
import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsExceptionFilter, RedisStreamsServer } from 'nestjs-redis-streams';
import { filter, firstValueFrom, timeout } from 'rxjs';
import { BillingController } from './billing/billing.controller.js';
import { BillingModule } from './billing/billing.module.js';
import { TaxRates } from './billing/tax-rates.js';
import { UndertakerService } from './billing/undertaker.service.js';
import { ShopModule } from './shop/shop.module.js';
import { ShopService } from './shop/shop.service.js';

const WITHIN_MS = 10_000;

async function startBilling(): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(BillingModule, {
    // What fails here is meant to, and the log would say so each time.
    logger: false,
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  // Without it a dead letter says no more than 'Internal server error': Nest hides the rest.
  app.useGlobalFilters(new RedisStreamsExceptionFilter());
  await app.listen();
  return app;
}

async function bootstrap(): Promise<void> {
  const shop = await NestFactory.createApplicationContext(ShopModule, { logger: false });
  const billing = await startBilling();
  try {
    await sellAndLookAfter(shop.get(ShopService), billing);
  } finally {
    await shop.close();
    await billing.close();
  }
}

async function sellAndLookAfter(shop: ShopService, billing: INestMicroservice): Promise<void> {
  const undertaker = billing.get(UndertakerService);
  await shop.sell({ id: 'A', country: 'Utopia', total: 1_000 });
  await shop.sell({ id: 'B', country: 'Atlantis', total: 2_000 });
  await shop.sell({ id: 'C', country: 'Utopia' });
  await undertaker.whenThereAre(2, WITHIN_MS);
  await undertaker.report();

  billing.get(TaxRates).set('Atlantis', 0.1);
  console.log('There is a tax rate for Atlantis now');
  const isBilled = firstValueFrom(
    billing.get(BillingController).billed.pipe(
      filter((id) => id === 'B'),
      timeout(WITHIN_MS),
    ),
  );
  await Promise.all([isBilled, undertaker.replayFailed()]);
  await undertaker.removeRest();
}

await bootstrap();
