import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { serve } from '../support/service-process.js';
import { OrdersModule } from './orders.module.js';

await serve(async () => {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(OrdersModule, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await app.listen();
  return { app };
});
