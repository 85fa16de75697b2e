import { Redis, type Cluster, type RedisOptions } from 'ioredis';
import { ConfigurationError } from '../errors.js';
import type { ClusterConnectionOption } from './cluster/cluster-option.js';
import { isDisplaced } from './redis-errors.js';

/**
 * Where Redis is: a URL, ioredis options, an ioredis instance or `Cluster` (its settings are taken for connections of
 * our own; it stays the caller's, unchanged and open), the nodes of a cluster, or a function that makes an instance from
 * the options it is given.
 */
export type RedisConnectionOption =
  string | RedisOptions | Redis | Cluster | ClusterConnectionOption | ((options: RedisOptions) => Redis);

/** Where one Redis is: any of the above but a cluster. */
export type SingleConnectionOption = Exclude<RedisConnectionOption, Cluster | ClusterConnectionOption>;

/** What a connection is for; part of its name in CLIENT LIST. */
export type ConnectionRole = 'commands' | 'inbox' | 'topics' | 'control' | 'broadcast' | 'replies';

/** ioredis keeps a timer for this long after a connection is closed, also one that was dead before. */
const DISCONNECT_WITHIN_MS = 500;

/** A connection that was good for so long was at the right place. */
const CALM_AFTER_MS = 10_000;

const DEFAULT_URL = 'redis://localhost:6379';

/**
 * Settings that the guarantees rest on, whatever the caller's options say.
 * - Nothing that may have arrived is sent again, and nothing waits inside ioredis: `autoResendUnfulfilledCommands`, `enableOfflineQueue`.
 * - Without resending, ioredis 5 and 6 leave unanswered commands pending for ever (ioredis #2193);
 *   `maxRetriesPerRequest: 0` makes it reject them as soon as the connection closes.
 * - Automatic pipelining holds a command back until the previous batch is answered; we batch by event-loop turn ourselves.
 * - ioredis' timeouts would give up a blocking read whose entries Redis then delivers to nobody. We watch over our
 *   connections ourselves.
 */
const REQUIRED = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  enableAutoPipelining: false,
  autoResubscribe: false,
  stringNumbers: false,
  commandTimeout: undefined,
  socketTimeout: undefined,
  blockingTimeout: undefined,
} as const satisfies RedisOptions;

/** Makes connections to one Redis. */
export interface ConnectionMaker {
  /** Where it is, for messages; never with credentials. */
  readonly address: string;
  /** Makes a connection that has not been opened yet. */
  create(role: ConnectionRole): Redis;
}

/** Makes every connection of a client or server to a single Redis, or to the master that Sentinel names, all alike. */
export class ConnectionFactory implements ConnectionMaker {
  readonly address: string;
  private readonly option: SingleConnectionOption;
  private readonly made = new WeakSet<Redis>();

  /** Throws a `ConfigurationError` for a connection that cannot be used. Opens nothing. */
  constructor(option: SingleConnectionOption | undefined) {
    // An empty variable is how many tools unset one.
    const fromEnvironment = process.env['REDIS_URL'] === '' ? undefined : process.env['REDIS_URL'];
    this.option = option ?? fromEnvironment ?? DEFAULT_URL;
    this.address =
      typeof this.option === 'function' ? 'the given connection' : addressOf(this.create('commands'));
  }

  create(role: ConnectionRole): Redis {
    const overrides = settingsFor(role);
    const redis = make(this.option, overrides);
    assertUsable(redis, overrides);
    if (this.made.has(redis)) {
      throw new ConfigurationError(
        "Option 'connection': the function must make a new instance each time; a blocking read needs a connection of its own.",
      );
    }
    this.made.add(redis);
    return redis;
  }
}

/** What we say about a connection, whatever the caller's options say. */
export function settingsFor(role: ConnectionRole): RedisOptions {
  return {
    ...REQUIRED,
    ...reconnection(),
    disconnectTimeout: DISCONNECT_WITHIN_MS,
    connectionName: `nestjs-redis-streams:${role}`,
  };
}

/**
 * When a connection is made anew, and how soon. Where Redis answers that the master is elsewhere, or is just becoming
 * one, a new connection looks for it; the command has not run. Should that be the answer again and again, as while a
 * slot is being moved, the pauses grow, though ioredis counts its attempts from 1 after each that was ready.
 */
function reconnection(): Required<Pick<RedisOptions, 'reconnectOnError' | 'retryStrategy'>> {
  let isDisplacing = false;
  let displacements = 0;
  let displacedAt = Number.NEGATIVE_INFINITY;
  return {
    reconnectOnError: (error) => {
      isDisplacing ||= isDisplaced(error);
      return isDisplaced(error) ? 1 : false;
    },
    retryStrategy: (attempt) => {
      if (!isDisplacing) {
        return reconnectDelay(attempt);
      }
      isDisplacing = false;
      const now = performance.now();
      displacements = now - displacedAt < CALM_AFTER_MS ? displacements + 1 : 1;
      displacedAt = now;
      return reconnectDelay(Math.max(attempt, displacements));
    },
  };
}

/** Grows from 50 ms to 2 s and never gives up: a service has nothing better to do than to wait for its Redis. */
function reconnectDelay(attempt: number): number {
  return Math.min(2_000, 50 * 2 ** Math.min(attempt - 1, 20));
}

function make(option: SingleConnectionOption, overrides: RedisOptions): Redis {
  if (typeof option === 'string') {
    assertUrl(option);
    const redis = new Redis(option, overrides);
    // What the query of a URL says would win otherwise.
    Object.assign(redis.options, overrides);
    return redis;
  }
  if (typeof option === 'function') {
    return option(overrides);
  }
  if (isClient(option)) {
    return option.duplicate(overrides);
  }
  if ('url' in option) {
    throw new ConfigurationError(
      "Option 'connection' has no 'url': give the URL itself, as in connection: 'redis://localhost:6379'.",
    );
  }
  return new Redis({ ...option, ...overrides });
}

/** By shape, not by class: an application may hold another copy of ioredis than this package. */
function isClient(option: object): option is Redis {
  return typeof (option as { duplicate?: unknown }).duplicate === 'function';
}

function assertUrl(url: string): void {
  if (!/^(rediss?:\/\/|unix:\/\/|\/)/.test(url)) {
    // The value may hold a password, so it is not repeated.
    throw new ConfigurationError(
      "Option 'connection': the URL must begin with redis://, rediss://, unix:// or / (a socket's path).",
    );
  }
  if (!url.startsWith('/') && !URL.canParse(url)) {
    throw new ConfigurationError(
      "Option 'connection' is not a valid URL: check host and port, and that special characters in the password are percent-encoded.",
    );
  }
}

function assertUsable(redis: Redis, overrides: RedisOptions): void {
  if (!isClient(redis)) {
    throw new ConfigurationError("Option 'connection': the function must return an ioredis instance.");
  }
  if ((redis as { isCluster?: unknown }).isCluster === true) {
    throw new ConfigurationError(
      "Option 'connection': the function must return a Redis, not a Cluster; give the Cluster itself, or { cluster: { nodes } }.",
    );
  }
  assertNoKeyPrefix(redis.options.keyPrefix);
  if (Number.isNaN(redis.options.db)) {
    throw new ConfigurationError("Option 'connection': the database in the URL's path must be a number.");
  }
  const { retryStrategy, reconnectOnError } = overrides;
  for (const [name, value] of Object.entries({ ...REQUIRED, retryStrategy, reconnectOnError })) {
    if (redis.options[name as keyof RedisOptions] !== value) {
      throw new ConfigurationError(
        `Option 'connection': the function must pass on the options it is given: new Redis({ ...yours, ...options }). ` +
          `'${name}' is not what it must be.`,
      );
    }
  }
}

/** Throws a `ConfigurationError` where ioredis is to put something before our keys. */
export function assertNoKeyPrefix(keyPrefix: string | undefined): void {
  if (keyPrefix) {
    throw new ConfigurationError(
      `Option 'connection': ioredis' keyPrefix ('${keyPrefix}') is not supported, since ioredis does not apply it ` +
        `to all commands. Use the option 'namespace' to keep deployments apart.`,
    );
  }
}

function addressOf(redis: Redis): string {
  const { sentinels, name, path, host, port, db } = redis.options;
  if (sentinels) {
    return `Sentinel master '${name}'`;
  }
  return path ?? `${host}:${port}${db ? `/${db}` : ''}`;
}
