import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { ClientModule } from './client/client.module.js';
import { DigestsClientService } from './client/digests-client.service.js';
import { DigestsModule } from './digests/digests.module.js';

async function bootstrap(): Promise<void> {
  const server = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(DigestsModule, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await server.listen();
  const client = await NestFactory.createApplicationContext(ClientModule, { logger: ['error', 'warn'] });
  try {
    const { name, sha256, year, at } = await client.get(DigestsClientService).digest({
      name: 'hello.txt',
      content: Buffer.from('hello'),
      modified: new Date('2001-02-03T04:05:06Z'),
    });
    console.log(`${name}, modified in ${year}: sha256 ${sha256.toString('hex')}`);
    console.log(
      `The digest came as a Buffer: ${Buffer.isBuffer(sha256)}; its time as a Date: ${at instanceof Date}`,
    );
  } finally {
    await client.close();
    await server.close();
  }
}

await bootstrap();
