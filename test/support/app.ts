import 'reflect-metadata';
import type { INestMicroservice, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { DynamicModule } from '@nestjs/common';
import { RedisStreamsClient, RedisStreamsServer } from '../../lib/index.js';
import type { RedisStreamsClientOptions, RedisStreamsServerOptions } from '../../lib/index.js';

const closers: (() => Promise<unknown>)[] = [];

/** A microservice with these controllers, listening. Closed by `closeAll()`. */
export async function serve(
  options: RedisStreamsServerOptions,
  ...controllers: Type[]
): Promise<{ app: INestMicroservice; server: RedisStreamsServer }> {
  class TestModule {}
  const module: DynamicModule = { module: TestModule, controllers };
  const server = new RedisStreamsServer(options);
  const app = await NestFactory.createMicroservice(module, { strategy: server, logger: false });
  closers.push(() => app.close());
  await app.listen();
  return { app, server };
}

/** A client. Closed by `closeAll()`. */
export function connect(options: RedisStreamsClientOptions): RedisStreamsClient {
  const client = new RedisStreamsClient(options);
  closers.push(() => client.close());
  return client;
}

/** Closes what the others have opened; for `afterEach`. */
export async function closeAll(): Promise<void> {
  await Promise.all(closers.splice(0).map((close) => close()));
}
