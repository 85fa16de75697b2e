import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { serve } from '../support/service-process.js';
import { GatewayModule } from './gateway.module.js';

await serve(async () => {
  const app = await NestFactory.create(GatewayModule, {
    logger: ['error', 'warn'],
    forceCloseConnections: true,
  });
  await app.listen(0, '127.0.0.1');
  return { app, url: await app.getUrl() };
});
