import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { serve, tell } from '../support/service-process.js';
import { OrdersModule } from './orders.module.js';

await serve(async () => {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(OrdersModule, {
    // That an instance died would be a warning; here it is meant to, and the demo says so itself.
    logger: ['error'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => {
      strategy.hooks.on('instanceDied', ({ instance, entries }) => tell({ kind: 'died', instance, entries }));
      return { strategy };
    },
  });
  await app.listen();
  return { app };
});
