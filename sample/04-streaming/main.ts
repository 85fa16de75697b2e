import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import { lastValueFrom, tap } from 'rxjs';
import { ClientModule } from './client/client.module.js';
import { ReportsClientService } from './client/reports-client.service.js';
import type { ReportRequest } from './contracts.js';
import { ReportsModule } from './reports/reports.module.js';

async function bootstrap(): Promise<void> {
  const server = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(ReportsModule, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await server.listen();
  const client = await NestFactory.createApplicationContext(ClientModule, { logger: ['error', 'warn'] });
  const reports = client.get(ReportsClientService);
  try {
    await build(reports, { title: 'Sales', rows: ['10', '20', '30', '40', '50'] });
    await build(reports, { title: 'Returns', rows: ['1', '2', 'three', '4'] });
  } finally {
    await client.close();
    await server.close();
  }
}

async function build(reports: ReportsClientService, request: ReportRequest): Promise<void> {
  const progress = reports
    .build(request)
    .pipe(tap(({ percent }) => console.log(`${request.title}: ${percent} %`)));
  try {
    const { report } = await lastValueFrom(progress);
    console.log(`Done. ${report}`);
  } catch (error) {
    console.log(`Failed. ${(error as { message: string }).message}`);
  }
}

await bootstrap();
