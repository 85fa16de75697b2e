import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { RedisStreamsServer } from 'nestjs-redis-streams';
import {
  filter,
  firstValueFrom,
  lastValueFrom,
  Subject,
  takeUntil,
  tap,
  timeout,
  type Observable,
} from 'rxjs';
import { ClientModule } from './client/client.module.js';
import { ReportsClientService } from './client/reports-client.service.js';
import { ReportsController, type Stopped } from './reports/reports.controller.js';
import { ReportsModule } from './reports/reports.module.js';

/** Of each report. It would take minutes. */
const LENGTH = 20_000;
const PATIENCE_MS = 500;
/** What is not stopped by then was not stopped. */
const WITHIN_MS = 10_000;

async function bootstrap(): Promise<void> {
  const server = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(ReportsModule, {
    logger: ['error', 'warn'],
    inject: [RedisStreamsServer],
    useFactory: (strategy: RedisStreamsServer) => ({ strategy }),
  });
  await server.listen();
  const client = await NestFactory.createApplicationContext(ClientModule, { logger: ['error', 'warn'] });
  try {
    await askInVain(client.get(ReportsClientService), server.get(ReportsController).stopped);
  } finally {
    await client.close();
    await server.close();
  }
}

async function askInVain(reports: ReportsClientService, stopped: Observable<Stopped>): Promise<void> {
  const length = LENGTH;
  console.log('Unsubscribing');
  const enough = new Subject<void>();
  const pages = reports.build({ title: 'Sales', length }).pipe(
    tap(({ text }) => console.log(text)),
    tap(({ number }) => number === 3 && enough.next()),
    takeUntil(enough),
  );
  await follow('Sales', pages, stopped);
  const sum = reports.sum({ title: 'Returns', length }).pipe(timeout(PATIENCE_MS));
  await follow('Returns', sum, stopped);

  console.log('A deadline');
  await follow('Stock', reports.build({ title: 'Stock', length }, PATIENCE_MS), stopped);
  await follow('Staff', reports.sum({ title: 'Staff', length }, PATIENCE_MS), stopped);
}

/** Tells how a report ends, on both sides. */
async function follow(
  title: string,
  report: Observable<unknown>,
  stopped: Observable<Stopped>,
): Promise<void> {
  const atService = firstValueFrom(
    stopped.pipe(
      filter((stop) => stop.title === title),
      timeout(WITHIN_MS),
    ),
  );
  const [{ at, reason }] = await Promise.all([atService, followHere(title, report)]);
  console.log(`${title}: the service stopped at ${at} of ${LENGTH}: ${reason.name}`);
}

async function followHere(title: string, report: Observable<unknown>): Promise<void> {
  try {
    await lastValueFrom(report);
    console.log(`${title}: the caller has seen enough`);
  } catch (error) {
    console.log(`${title}: the caller gave up: ${(error as Error).name}`);
  }
}

await bootstrap();
