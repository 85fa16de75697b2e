import 'reflect-metadata';
import type { INestMicroservice, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { lastValueFrom, merge, take, timeout, toArray } from 'rxjs';
import { BillingModule } from './billing/billing.module.js';
import { Journal, type JournalEntry } from './journal.js';
import { ShippingModule } from './shipping/shipping.module.js';
import { ShopModule } from './shop/shop.module.js';
import { ShopService } from './shop/shop.service.js';

const ORDERS_BEFORE = 10;
const ORDERS_AFTER = 30;
const HANDLED_WITHIN_MS = 10_000;
const SERVICES = ['billing', 'shipping'];

async function startInstance(module: Type): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(module, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await app.listen();
  return app;
}

async function bootstrap(): Promise<void> {
  const shop = await NestFactory.createApplicationContext(ShopModule, { logger: ['error', 'warn'] });
  await sell(shop.get(ShopService), 1, ORDERS_BEFORE);
  console.log(`Published ${ORDERS_BEFORE} events before any service was there`);

  const modules = [BillingModule, BillingModule, ShippingModule, ShippingModule];
  const instances = await Promise.all(modules.map(startInstance));
  console.log('Started two instances of billing and two of shipping');
  await sell(shop.get(ShopService), ORDERS_BEFORE + 1, ORDERS_BEFORE + ORDERS_AFTER);
  console.log(`Published ${ORDERS_AFTER} more`);

  const expected = (ORDERS_BEFORE + ORDERS_AFTER) * SERVICES.length;
  const handled = await lastValueFrom(
    merge(...instances.map((app) => app.get(Journal).entries)).pipe(
      take(expected),
      toArray(),
      timeout(HANDLED_WITHIN_MS),
    ),
  );
  SERVICES.forEach((service) => report(service, handled));
  await Promise.all([shop, ...instances].map((app) => app.close()));
}

async function sell(shop: ShopService, from: number, to: number): Promise<void> {
  for (let id = from; id <= to; id++) {
    await shop.sell({ id, article: `article ${id}` });
  }
}

function report(service: string, handled: JournalEntry[]): void {
  const own = handled.filter((entry) => entry.service === service);
  const orders = new Set(own.map(({ orderId }) => orderId));
  const instances = [...new Set(own.map(({ instance }) => instance))];
  const shares = instances.map((id) => own.filter(({ instance }) => instance === id).length);
  console.log(
    `${service} handled ${own.length} events of ${orders.size} orders; by instance: ${shares.join(' + ')}`,
  );
}

await bootstrap();
