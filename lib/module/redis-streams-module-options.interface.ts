import type { ModuleMetadata, Type } from '@nestjs/common';
import type {
  RedisStreamsClientOptions,
  RedisStreamsConnectionOptions,
  RedisStreamsServerOptions,
} from '../options.js';

/**
 * Everything about an application's Redis Streams, once: the connection, and, where it serves, its service; the rest
 * are defaults for its clients.
 */
export interface RedisStreamsModuleOptions
  extends RedisStreamsServerOptions, Omit<RedisStreamsClientOptions, 'service'> {
  /** The name of this application's own service. Leave it out where the application only sends. */
  service?: string;
}

/** Makes the options where `forRootAsync` names a class. */
export interface RedisStreamsOptionsFactory {
  createRedisStreamsOptions(): RedisStreamsModuleOptions | Promise<RedisStreamsModuleOptions>;
}

/** Options that are only known when the application starts. Give one of `useFactory`, `useClass` and `useExisting`. */
export interface RedisStreamsModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  useFactory?: (...args: never[]) => RedisStreamsModuleOptions | Promise<RedisStreamsModuleOptions>;
  useClass?: Type<RedisStreamsOptionsFactory>;
  useExisting?: Type<RedisStreamsOptionsFactory>;
  /** What `useFactory` is called with. */
  inject?: (string | symbol | Type<unknown>)[];
}

/** What a client of a module may set for itself; connection and namespace are the module's. */
export type RedisStreamsModuleClientOptions = Omit<
  RedisStreamsClientOptions,
  Exclude<keyof RedisStreamsConnectionOptions, 'codec' | 'maxPayloadBytes' | 'serializer' | 'deserializer'>
>;

/** A client of the module. */
export interface RedisStreamsClientDefinition extends RedisStreamsModuleClientOptions {
  /** The token under which the client is injected. */
  name: string | symbol;
}

/** A client whose options are only known when the application starts. */
export interface RedisStreamsClientAsyncDefinition extends Pick<ModuleMetadata, 'imports'> {
  /** The token under which the client is injected. */
  name: string | symbol;
  useFactory: (
    ...args: never[]
  ) => RedisStreamsModuleClientOptions | Promise<RedisStreamsModuleClientOptions>;
  /** What `useFactory` is called with. */
  inject?: (string | symbol | Type<unknown>)[];
}
