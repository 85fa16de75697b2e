import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { serve } from '../support/service-process.js';
import { NotificationsModule } from './notifications.module.js';

await serve(async () => {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(NotificationsModule, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await app.listen();
  return { app };
});
