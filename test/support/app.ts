import 'reflect-metadata';
import type { DynamicModule, INestMicroservice, LoggerService, ModuleMetadata, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { RedisStreamsClient, RedisStreamsServer } from '../../lib/index.js';
import type { RedisStreamsClientOptions, RedisStreamsServerOptions } from '../../lib/index.js';
import { reachable } from './reachable.js';
import { SHARDS } from './shards.js';

const closers: (() => unknown)[] = [];

/** A microservice with these controllers, listening. Closed by `closeAll()`. */
export function serve(
  options: RedisStreamsServerOptions,
  ...controllers: Type[]
): Promise<{ app: INestMicroservice; server: RedisStreamsServer }> {
  return serveModule(options, { controllers });
}

/** What `serveModule` does besides. */
export interface ServeExtras {
  /** Gets Nest's lines and the transport's. Silence where it is not given. */
  logger?: LoggerService;
  /** Runs before `listen()`: for globals and hooks. */
  prepare?: (app: INestMicroservice, server: RedisStreamsServer) => void;
}

/** A microservice with this module, listening. Closed by `closeAll()`. */
export async function serveModule(
  options: RedisStreamsServerOptions,
  metadata: ModuleMetadata,
  { logger, prepare }: ServeExtras = {},
): Promise<{ app: INestMicroservice; server: RedisStreamsServer }> {
  const server = new RedisStreamsServer(reachable({ shards: SHARDS, ...options }));
  const app = await NestFactory.createMicroservice(testModule(metadata), {
    strategy: server,
    logger: logger ?? false,
  });
  onClose(() => app.close());
  prepare?.(app, server);
  await app.listen();
  return { app, server };
}

/** A module of a class of its own. */
export function testModule(metadata: ModuleMetadata): DynamicModule {
  class TestModule {}
  return { module: TestModule, ...metadata };
}

/** A client. Closed by `closeAll()`. */
export function connect(options: RedisStreamsClientOptions): RedisStreamsClient {
  const client = new RedisStreamsClient(reachable({ shards: SHARDS, ...options }));
  onClose(() => client.close());
  return client;
}

/** A connection that looks at what lies in Redis. Closed by `closeAll()`. */
export function inspect(url: string): Redis {
  const redis = new Redis(url);
  onClose(() => redis.disconnect());
  return redis;
}

/** Has `close` called by `closeAll()`. */
export function onClose(close: () => unknown): void {
  closers.push(close);
}

/** Closes what the others have opened; for `afterEach`. */
export async function closeAll(): Promise<void> {
  await Promise.all(closers.splice(0).map((close) => close()));
}

/** A logger that keeps its lines. */
export class Lines implements LoggerService {
  readonly all: string[] = [];
  log = this.keep('log');
  error = this.keep('error');
  warn = this.keep('warn');

  /** The lines that hold `text`. */
  with(text: string): string[] {
    return this.all.filter((line) => line.includes(text));
  }

  private keep(level: string): (message: unknown) => void {
    return (message) => this.all.push(`${level}: ${String(message)}`);
  }
}
