import { Logger, type OnApplicationShutdown } from '@nestjs/common';
import { RedisStreamsDeadLetters } from '../admin/dead-letters.js';
import { RedisStreamsLayout } from '../admin/layout.js';
import { RedisStreamsClient } from '../client/redis-streams.client.js';
import { ClientSession } from '../client/client-session.js';
import { ConfigurationError } from '../errors.js';
import {
  CLIENT_RULES,
  DEAD_LETTERS_RULES,
  LAYOUT_RULES,
  SERVER_RULES,
  pickOptions,
  resolveModuleOptions,
  type RedisStreamsClientOptions,
} from '../options.js';
import { Namespace } from '../redis/namespace.js';
import { RedisStreamsServer } from '../server/redis-streams.server.js';
import type {
  RedisStreamsModuleClientOptions,
  RedisStreamsModuleOptions,
} from './redis-streams-module-options.interface.js';

const SHARED_OPTIONS = ['connection', 'namespace', 'shards', 'connectTimeout'];

/** What the server and all clients of an application share: one command connection, one reply stream. */
export class RedisStreamsHub implements OnApplicationShutdown {
  readonly server: RedisStreamsServer;
  readonly deadLetters: RedisStreamsDeadLetters;
  readonly layout: RedisStreamsLayout;
  private readonly session: ClientSession;
  private readonly clients: RedisStreamsClient[] = [];

  /** Throws a `ConfigurationError` for options that cannot be used. Opens no connection. */
  constructor(private readonly options: RedisStreamsModuleOptions) {
    const resolved = resolveModuleOptions(options);
    const logger = new Logger('RedisStreamsModule');
    const namespace = new Namespace(resolved, logger);
    this.session = new ClientSession(namespace, resolved.connectTimeout, logger);
    this.server = new RedisStreamsServer(pickOptions(options, SERVER_RULES), namespace);
    this.deadLetters = new RedisStreamsDeadLetters(pickOptions(options, DEAD_LETTERS_RULES), namespace);
    this.layout = new RedisStreamsLayout(pickOptions(options, LAYOUT_RULES));
  }

  /** A client with the module's defaults, and settings of its own. */
  client(own: RedisStreamsModuleClientOptions): RedisStreamsClient {
    for (const name of SHARED_OPTIONS) {
      if (Object.hasOwn(own, name)) {
        throw new ConfigurationError(
          `Option '${name}' belongs to the module, whose clients share one connection: give it to RedisStreamsModule.forRoot.`,
        );
      }
    }
    const { service: _, ...defaults } = pickOptions<RedisStreamsClientOptions>(this.options, CLIENT_RULES);
    // An option that is there but undefined must not hide the module's.
    const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
    const client = new RedisStreamsClient({ ...defaults, ...given }, this.session);
    this.clients.push(client);
    return client;
  }

  /** After the server has been closed, whose handlers may use clients to their end. */
  async onApplicationShutdown(): Promise<void> {
    await Promise.all([...this.clients, this.deadLetters].map((user) => user.close()));
  }
}
