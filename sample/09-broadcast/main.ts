import 'reflect-metadata';
import type { INestMicroservice, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { lastValueFrom, merge, take, timeout, toArray } from 'rxjs';
import { AdminModule } from './admin/admin.module.js';
import { AdminService } from './admin/admin.service.js';
import { AuditController } from './audit/audit.controller.js';
import { AuditModule } from './audit/audit.module.js';
import { Flags } from './shop/flags.js';
import { ShopModule } from './shop/shop.module.js';

const HANDLED_WITHIN_MS = 10_000;
const CHANGES: [feature: string, on: boolean][] = [
  ['checkout', true],
  ['search', true],
  ['search', false],
];

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
  const shops = await Promise.all([ShopModule, ShopModule, ShopModule].map(startInstance));
  const audits = await Promise.all([AuditModule, AuditModule].map(startInstance));
  console.log('Started three instances of shop and two of audit; there is no topic yet');

  const admin = await NestFactory.createApplicationContext(AdminModule, { logger: ['error', 'warn'] });
  for (const [feature, on] of CHANGES) {
    await admin.get(AdminService).turn(feature, on);
  }
  await Promise.all(
    shops.map((shop) =>
      lastValueFrom(shop.get(Flags).changes.pipe(take(CHANGES.length), timeout(HANDLED_WITHIN_MS))),
    ),
  );
  shops.forEach((shop, i) => console.log(`Shop ${i + 1} knows: ${shop.get(Flags).describe()}`));

  const written = await lastValueFrom(
    merge(...audits.map((audit) => audit.get(AuditController).written)).pipe(
      take(CHANGES.length),
      toArray(),
      timeout(HANDLED_WITHIN_MS),
    ),
  );
  console.log(`The audit has written ${written.length} lines`);
  written.sort().forEach((line) => console.log(`- ${line}`));
  await Promise.all([admin, ...shops, ...audits].map((app) => app.close()));
}

await bootstrap();
