import { Module, type DynamicModule, type Provider } from '@nestjs/common';
import { RedisStreamsDeadLetters } from '../admin/dead-letters.js';
import { RedisStreamsLayout } from '../admin/layout.js';
import { ConfigurationError } from '../errors.js';
import { RedisStreamsServer } from '../server/redis-streams.server.js';
import type {
  RedisStreamsClientAsyncDefinition,
  RedisStreamsClientDefinition,
  RedisStreamsModuleAsyncOptions,
  RedisStreamsModuleOptions,
  RedisStreamsOptionsFactory,
} from './redis-streams-module-options.interface.js';
import { REDIS_STREAMS_MODULE_OPTIONS } from './redis-streams.constants.js';
import { RedisStreamsHub } from './redis-streams.hub.js';

/**
 * Wires the transport into an application: `forRoot` once, for the connection and the server (the strategy is
 * `app.get(RedisStreamsServer)`), and `forClients` wherever clients are injected.
 */
@Module({})
export class RedisStreamsModule {
  /** Connection, namespace, service and defaults. Global: import it once. */
  static forRoot(options: RedisStreamsModuleOptions = {}): DynamicModule {
    return root([], [{ provide: REDIS_STREAMS_MODULE_OPTIONS, useValue: options }]);
  }

  /** The same, with options that are only known when the application starts. */
  static forRootAsync(options: RedisStreamsModuleAsyncOptions): DynamicModule {
    return root(options.imports, asyncOptions(options));
  }

  /** Clients to inject by their names. They connect at their first message. */
  static forClients(clients: RedisStreamsClientDefinition[]): DynamicModule {
    return clientsModule(
      [],
      clients.map(({ name, ...options }) => ({
        provide: name,
        inject: [RedisStreamsHub],
        useFactory: (hub: RedisStreamsHub) => hub.client(options),
      })),
    );
  }

  /** The same, with options that are only known when the application starts. */
  static forClientsAsync(clients: RedisStreamsClientAsyncDefinition[]): DynamicModule {
    return clientsModule(
      clients.flatMap(({ imports }) => imports ?? []),
      clients.map(({ name, useFactory, inject = [] }) => ({
        provide: name,
        inject: [RedisStreamsHub, ...inject],
        useFactory: async (hub: RedisStreamsHub, ...args: never[]) => hub.client(await useFactory(...args)),
      })),
    );
  }
}

function root(imports: DynamicModule['imports'], options: Provider[]): DynamicModule {
  return {
    module: RedisStreamsModule,
    global: true,
    imports: imports ?? [],
    providers: [
      ...options,
      {
        provide: RedisStreamsHub,
        inject: [REDIS_STREAMS_MODULE_OPTIONS],
        useFactory: (given: RedisStreamsModuleOptions) => new RedisStreamsHub(given),
      },
      {
        provide: RedisStreamsServer,
        inject: [RedisStreamsHub],
        useFactory: (hub: RedisStreamsHub) => hub.server,
      },
      {
        provide: RedisStreamsDeadLetters,
        inject: [RedisStreamsHub],
        useFactory: (hub: RedisStreamsHub) => hub.deadLetters,
      },
      {
        provide: RedisStreamsLayout,
        inject: [RedisStreamsHub],
        useFactory: (hub: RedisStreamsHub) => hub.layout,
      },
    ],
    exports: [RedisStreamsHub, RedisStreamsServer, RedisStreamsDeadLetters, RedisStreamsLayout],
  };
}

function clientsModule(
  imports: NonNullable<DynamicModule['imports']>,
  providers: Exclude<Provider, Function>[],
): DynamicModule {
  return { module: RedisStreamsModule, imports, providers, exports: providers.map(({ provide }) => provide) };
}

function asyncOptions({
  useFactory,
  useClass,
  useExisting,
  inject = [],
}: RedisStreamsModuleAsyncOptions): Provider[] {
  if (useFactory) {
    return [{ provide: REDIS_STREAMS_MODULE_OPTIONS, useFactory, inject }];
  }
  const factory = useClass ?? useExisting;
  if (!factory) {
    throw new ConfigurationError(
      'RedisStreamsModule.forRootAsync needs one of useFactory, useClass and useExisting.',
    );
  }
  return [
    ...(useClass ? [{ provide: useClass, useClass }] : []),
    {
      provide: REDIS_STREAMS_MODULE_OPTIONS,
      inject: [factory],
      useFactory: (maker: RedisStreamsOptionsFactory) => maker.createRedisStreamsOptions(),
    },
  ];
}
