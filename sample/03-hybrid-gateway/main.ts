import 'reflect-metadata';
import type { INestApplication, INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { firstValueFrom, timeout } from 'rxjs';
import { ChangesController } from './gateway/changes.controller.js';
import { GatewayModule } from './gateway/gateway.module.js';
import { PricesModule } from './prices/prices.module.js';

const WITHIN_MS = 10_000;

async function startPrices(): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(PricesModule, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await app.listen();
  return app;
}

async function startGateway(): Promise<INestApplication> {
  const app = await NestFactory.create(GatewayModule, {
    logger: ['error', 'warn'],
    forceCloseConnections: true,
  });
  app.connectMicroservice({ strategy: app.get(RedisStreamsServer) });
  await app.init();
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  return app;
}

async function bootstrap(): Promise<void> {
  const prices = await startPrices();
  const gateway = await startGateway();
  try {
    const url = await gateway.getUrl();
    await request(url, 'GET', '/prices/apple');
    await request(url, 'PUT', '/prices/pear', { cents: 45 });
    await request(url, 'GET', '/prices/pear');
    await request(url, 'GET', '/prices/kiwi');
    const { article, cents } = await firstValueFrom(
      gateway.get(ChangesController).changes.pipe(timeout(WITHIN_MS)),
    );
    console.log(`The gateway was told by an event that ${article} costs ${cents} now`);
  } finally {
    await gateway.close();
    await prices.close();
  }
}

async function request(url: string, method: string, path: string, body?: object): Promise<void> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(WITHIN_MS),
  });
  console.log(`${method} ${path}: ${response.status} ${await response.text()}`);
}

await bootstrap();
