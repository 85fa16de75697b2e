import 'reflect-metadata';
import { setTimeout as pause } from 'node:timers/promises';
import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { distinct, filter, lastValueFrom, merge, take, timeout } from 'rxjs';
import { clusterSettings } from '../support/settings.js';
import { BakeryController } from './bakery/bakery.controller.js';
import { BakeryModule } from './bakery/bakery.module.js';
import { SHARDS } from './contracts.js';
import { Masters } from './masters.js';
import { ShopModule } from './shop/shop.module.js';
import { ShopService } from './shop/shop.service.js';
import { Traffic } from './traffic.js';

const VICTIM = 0;
const BEFORE_MS = 1_000;
const AFTER_MS = 1_000;
const REPLACED_WITHIN_MS = 15_000;
const HANDLED_WITHIN_MS = 20_000;

/** The log would tell of each connection that is lost with the node, which is meant. */
const logger = false;

async function startBakery(): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(BakeryModule, {
    logger,
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await app.listen();
  return app;
}

async function bootstrap(): Promise<void> {
  const { connection, namespace } = clusterSettings();
  const masters = new Masters(connection.cluster.nodes, namespace);
  for (let shard = 0; shard < SHARDS; shard++) {
    console.log(`Shard ${shard} lies at ${(await masters.of(shard)).address}`);
  }
  const bakeries = await Promise.all([startBakery(), startBakery()]);
  const shop = await NestFactory.createApplicationContext(ShopModule, { logger });
  try {
    await killInTheMiddle(masters, shop.get(ShopService), bakeries);
  } finally {
    await Promise.all([shop, ...bakeries].map((app) => app.close()));
  }
}

async function killInTheMiddle(
  masters: Masters,
  shop: ShopService,
  bakeries: INestMicroservice[],
): Promise<void> {
  console.log('Asking for totals and publishing events');
  const traffic = new Traffic(shop);
  await pause(BEFORE_MS);

  const victim = await masters.of(VICTIM);
  console.log(`Killing ${victim.address} (process ${victim.pid}), the master of shard ${VICTIM}`);
  const killedAt = performance.now();
  const answeredBefore = traffic.answers;
  process.kill(victim.pid, 'SIGKILL');
  const successor = await masters.replaced(VICTIM, victim, REPLACED_WITHIN_MS);
  const seconds = ((performance.now() - killedAt) / 1_000).toFixed(1);
  console.log(`Its replica ${successor.address} is the master after ${seconds} s`);
  console.log(`Answered meanwhile: ${traffic.answers - answeredBefore}`);
  await pause(AFTER_MS);
  await traffic.stop();

  const { requests, answers, wrong, published } = traffic;
  console.log(`Requests: ${requests} sent, ${answers} answered, ${wrong} of them wrongly`);
  await whenHandled(published, bakeries);
  console.log(`Events: ${published.length} published, all handled`);
  console.log(`Sent once more because nobody could know whether they had arrived: ${shop.repeated}`);
}

async function whenHandled(published: readonly string[], bakeries: INestMicroservice[]): Promise<void> {
  const isPublished = new Set(published);
  await lastValueFrom(
    merge(...bakeries.map((bakery) => bakery.get(BakeryController).handled)).pipe(
      filter((id) => isPublished.has(id)),
      distinct(),
      take(published.length),
      timeout(HANDLED_WITHIN_MS),
    ),
  );
}

await bootstrap();
