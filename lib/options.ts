import type { Deserializer, Serializer } from '@nestjs/microservices';
import { ConfigurationError } from './errors.js';
import {
  codecFault,
  connectionFault,
  hasMethod,
  membersFault,
  nameFault,
  oneOf,
  retryFault,
  show,
  trueOrFalse,
  wholeNumber,
  type Fault,
} from './option-faults.js';
import type { Codec } from './protocol/codec.js';
import { JSON_CODEC } from './protocol/json.codec.js';
import type { RedisConnectionOption } from './redis/connection-factory.js';
import { MAX_TIMER_MS } from './util/time.js';

/** Options of clients and servers alike. */
export interface RedisStreamsConnectionOptions {
  /**
   * A URL, ioredis options, an ioredis instance (its settings are used for connections of our own; it stays yours) or
   * a function that makes one. Default: the environment variable `REDIS_URL`, else `redis://localhost:6379`.
   */
  connection?: RedisConnectionOption;
  /** The first part of every key: deployments that share a Redis are kept apart by it. Default `nest`. */
  namespace?: string;
  /**
   * Over how many hash tags the streams are spread, each of which one node of a cluster holds: 1 to 1,024, the same for
   * all who use the namespace. Default 1.
   */
  shards?: number;
  /** Milliseconds that `connect()` and `listen()` wait for Redis before they fail. Default 10,000. */
  connectTimeout?: number;
  /** How values become bytes. Default `JsonCodec`. */
  codec?: Codec;
  /** The largest encoded payload that is sent, in bytes. Default 8 MiB. */
  maxPayloadBytes?: number;
  /** Nest's own: makes what is encoded out of a whole packet. Costs nothing where it is not given. */
  serializer?: Serializer;
  /** Nest's own: makes a packet out of what was decoded; may be asynchronous. */
  deserializer?: Deserializer;
}

/** When a request or event counts as handled. */
export type AcknowledgeMode =
  /** When its reply is stored, or its handlers have succeeded: at least once. */
  | 'after-handler'
  /** Before its handler starts: at most once. */
  | 'on-receipt'
  /** An event: when its handlers have called `context.ack()`. A request: as with `after-handler`. */
  | 'manual';

/** How long a failed event waits before it is delivered again, in milliseconds. */
export type Backoff =
  /** `base` doubled with each delivery, up to `max`, less up to a quarter of it, by the entry's id. */
  | { type: 'exponential'; base: number; max: number }
  /** Always the same. */
  | { type: 'fixed'; delay: number }
  /** Of the deliveries so far, from 1. Must be quick and must not throw. */
  | ((deliveries: number) => number);

/** What becomes of an event whose handler fails, and of a message whose instance dies. */
export interface RetryOptions {
  /** How often a message is delivered before it becomes a dead letter. Default 5. */
  maxDeliveries?: number;
  /** How long a failed event waits. Default `{ type: 'exponential', base: 1_000, max: 60_000 }`. */
  backoff?: Backoff;
}

/** Where messages go that cannot be handled. */
export interface DeadLetterOptions {
  /** How many a service keeps; the oldest are dropped past it, and that is reported. Default 100,000. */
  maxLength?: number;
  /** Whether an error's stack is kept. Default false. */
  stack?: boolean;
}

/** What a publisher does when a stream holds `maxLength` entries. */
export type WhenFull =
  /** Publishing fails with a `StreamFullError`. */
  | 'fail'
  /** The oldest entries are cut, handled or not, and that is reported. */
  | 'drop-oldest';

/** Options of `RedisStreamsServer`. */
export interface RedisStreamsServerOptions extends RedisStreamsConnectionOptions {
  /** The name under which clients reach this server, and of its consumer group. Required. */
  service?: string;
  /** How many requests an instance handles at once. Default 128. */
  concurrency?: number;
  /** How many events an instance handles at once. Default 64. */
  eventConcurrency?: number;
  /** When a message is acknowledged. Default `after-handler`. */
  acknowledge?: AcknowledgeMode;
  /** Milliseconds that `close()` waits for running handlers. Default 10,000. */
  shutdownTimeout?: number;
  /** Milliseconds after which an instance that gives no sign of life counts as dead. Default 10,000. */
  lease?: number;
  /** How often a message is delivered, and after which pauses. By handler: `@EventPattern(p, { retry })`. */
  retry?: RetryOptions;
  /** How many failed events may wait for their next delivery in an instance before it reads no more events. Default 1,000. */
  maxWaitingRetries?: number;
  /** The bound of the service's dead letters, and what they keep. */
  deadLetters?: DeadLetterOptions;
  /**
   * Entries that may wait in a client's reply stream before a stream of values to it is ended. Default 10,000. Clients
   * remove what they have read 64 entries at a time, so that numbers near that end streams to those that read, too.
   */
  maxReplyBacklog?: number;
  /** Milliseconds after which a service that was not seen does not hold back events any more. Default 7 days. */
  forgetAfter?: number;
}

/** Options of `RedisStreamsClient`. */
export interface RedisStreamsClientOptions extends RedisStreamsConnectionOptions {
  /** The service that `send()` asks. Required for `send()`; events need none. */
  service?: string;
  /** Milliseconds within which a request must be answered, and an event stored. Default 30,000. */
  timeout?: number;
  /** How many messages may wait while Redis is away. Default 10,000. */
  maxQueued?: number;
  /** Entries in a stream from which on publishing into it fails with a `StreamFullError`. Default 1,000,000. */
  maxLength?: number;
  /** What happens at `maxLength`. Default `fail`. */
  whenFull?: WhenFull;
}

/** Options of `RedisStreamsDeadLetters`. */
export interface RedisStreamsDeadLettersOptions extends Pick<
  RedisStreamsConnectionOptions,
  'connection' | 'namespace' | 'shards' | 'connectTimeout'
> {
  /** Whose dead letters are meant where a call names no service. */
  service?: string;
}

/** Options of `RedisStreamsLayout`. */
export type RedisStreamsLayoutOptions = Pick<
  RedisStreamsConnectionOptions,
  'connection' | 'namespace' | 'connectTimeout'
>;

/** Options with every default filled in. */
export type Resolved<T, Optional extends keyof T> = Required<Omit<T, Optional>> & Pick<T, Optional>;
type Open = 'connection' | 'serializer' | 'deserializer' | 'service';
/** Server options with every default filled in. */
export type ResolvedServerOptions = Resolved<
  Omit<RedisStreamsServerOptions, 'retry' | 'deadLetters'>,
  Open
> & {
  retry: Required<RetryOptions>;
  deadLetters: Required<DeadLetterOptions>;
};
/** Client options with every default filled in. */
export type ResolvedClientOptions = Resolved<RedisStreamsClientOptions, Open>;

/** Options of `RedisStreamsDeadLetters` with every default filled in. */
export type ResolvedDeadLettersOptions = Resolved<RedisStreamsDeadLettersOptions, 'connection' | 'service'>;

/** Options of `RedisStreamsLayout` with every default filled in. */
export type ResolvedLayoutOptions = Resolved<RedisStreamsLayoutOptions, 'connection'>;

/** One option: its default, and what is wrong with a value (`undefined` where nothing is). */
interface OptionRule {
  default?: unknown;
  fault: Fault;
  /** An object of settings, each with a default of its own. */
  isGroup?: boolean;
}

const connectionRules = {
  connection: { fault: connectionFault },
  namespace: { default: 'nest', fault: nameFault },
  shards: { default: 1, fault: wholeNumber(1, 1_024, 'shards') },
  connectTimeout: { default: 10_000, fault: wholeNumber(1, MAX_TIMER_MS, 'milliseconds') },
  codec: { default: JSON_CODEC, fault: codecFault },
  maxPayloadBytes: {
    default: 8 * 1024 * 1024,
    fault: wholeNumber(1, 512 * 1024 * 1024, 'bytes (Redis allows 512 MiB)'),
  },
  serializer: { fault: hasMethod('serialize') },
  deserializer: { fault: hasMethod('deserialize') },
} satisfies Record<keyof RedisStreamsConnectionOptions, OptionRule>;

/** Every server option, its default and its check. docs/configuration.md is held against this. */
export const SERVER_RULES = {
  ...connectionRules,
  service: { fault: nameFault },
  concurrency: { default: 128, fault: wholeNumber(1, 100_000, 'requests') },
  eventConcurrency: { default: 64, fault: wholeNumber(1, 100_000, 'events') },
  acknowledge: { default: 'after-handler', fault: oneOf('after-handler', 'on-receipt', 'manual') },
  shutdownTimeout: { default: 10_000, fault: wholeNumber(0, MAX_TIMER_MS, 'milliseconds') },
  lease: { default: 10_000, fault: wholeNumber(300, 3_600_000, 'milliseconds') },
  retry: {
    default: { maxDeliveries: 5, backoff: { type: 'exponential', base: 1_000, max: 60_000 } },
    fault: retryFault,
    isGroup: true,
  },
  maxWaitingRetries: { default: 1_000, fault: wholeNumber(1, 1_000_000, 'events') },
  deadLetters: {
    default: { maxLength: 100_000, stack: false },
    fault: membersFault({
      maxLength: wholeNumber(1, 100_000_000, 'entries'),
      stack: trueOrFalse,
    }),
    isGroup: true,
  },
  maxReplyBacklog: { default: 10_000, fault: wholeNumber(1, 10_000_000, 'entries') },
  forgetAfter: {
    default: 7 * 24 * 3_600_000,
    fault: wholeNumber(1_000, Number.MAX_SAFE_INTEGER, 'milliseconds'),
  },
} satisfies Record<keyof RedisStreamsServerOptions, OptionRule>;

/** Every client option, its default and its check. docs/configuration.md is held against this. */
export const CLIENT_RULES = {
  ...connectionRules,
  service: { fault: nameFault },
  timeout: { default: 30_000, fault: wholeNumber(1, MAX_TIMER_MS, 'milliseconds') },
  maxQueued: { default: 10_000, fault: wholeNumber(0, 10_000_000, 'messages') },
  maxLength: { default: 1_000_000, fault: wholeNumber(1, Number.MAX_SAFE_INTEGER, 'entries') },
  whenFull: { default: 'fail', fault: oneOf('fail', 'drop-oldest') },
} satisfies Record<keyof RedisStreamsClientOptions, OptionRule>;

/** Every option of `RedisStreamsDeadLetters`, its default and its check. docs/configuration.md is held against this. */
export const DEAD_LETTERS_RULES = {
  connection: connectionRules.connection,
  namespace: connectionRules.namespace,
  shards: connectionRules.shards,
  connectTimeout: connectionRules.connectTimeout,
  service: { fault: nameFault },
} satisfies Record<keyof RedisStreamsDeadLettersOptions, OptionRule>;

/** Every option of `RedisStreamsLayout`, its default and its check. docs/configuration.md is held against this. */
export const LAYOUT_RULES = {
  connection: connectionRules.connection,
  namespace: connectionRules.namespace,
  connectTimeout: connectionRules.connectTimeout,
} satisfies Record<keyof RedisStreamsLayoutOptions, OptionRule>;

/** Every option of `RedisStreamsModule.forRoot`: those of its server, and defaults for its clients. */
export const MODULE_RULES = { ...CLIENT_RULES, ...SERVER_RULES };

/** Checks the options of a module and fills in the defaults. Throws a `ConfigurationError`. */
export function resolveModuleOptions(
  options: RedisStreamsServerOptions & RedisStreamsClientOptions,
): ResolvedServerOptions & ResolvedClientOptions {
  return resolve(options, MODULE_RULES, 'RedisStreamsModule') as unknown as ResolvedServerOptions &
    ResolvedClientOptions;
}

/** Those of the options that the rules know. */
export function pickOptions<T extends object>(options: T, rules: object): T {
  return Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(rules, name))) as T;
}

/** Checks the options of a server and fills in the defaults. Throws a `ConfigurationError`. */
export function resolveServerOptions(options: RedisStreamsServerOptions): ResolvedServerOptions {
  return resolve(options, SERVER_RULES, 'RedisStreamsServer') as unknown as ResolvedServerOptions;
}

/** Checks the options of a client and fills in the defaults. Throws a `ConfigurationError`. */
export function resolveClientOptions(options: RedisStreamsClientOptions): ResolvedClientOptions {
  return resolve(options, CLIENT_RULES, 'RedisStreamsClient') as unknown as ResolvedClientOptions;
}

/** Checks the options of a `RedisStreamsDeadLetters` and fills in the defaults. Throws a `ConfigurationError`. */
export function resolveDeadLettersOptions(
  options: RedisStreamsDeadLettersOptions,
): ResolvedDeadLettersOptions {
  return resolve(
    options,
    DEAD_LETTERS_RULES,
    'RedisStreamsDeadLetters',
  ) as unknown as ResolvedDeadLettersOptions;
}

/** Checks the options of a `RedisStreamsLayout` and fills in the defaults. Throws a `ConfigurationError`. */
export function resolveLayoutOptions(options: RedisStreamsLayoutOptions): ResolvedLayoutOptions {
  return resolve(options, LAYOUT_RULES, 'RedisStreamsLayout') as unknown as ResolvedLayoutOptions;
}

/** Checks a timeout given for one request. Throws a `ConfigurationError`. */
export function assertTimeout(value: unknown): asserts value is number {
  const fault = CLIENT_RULES.timeout.fault(value);
  if (fault !== undefined) {
    throw new ConfigurationError(`A record's timeout ${fault}.`);
  }
}

function resolve(options: object, rules: Record<string, OptionRule>, owner: string): Record<string, unknown> {
  if (typeof options !== 'object' || options === null) {
    throw new ConfigurationError(`${owner} takes an object of options, not ${show(options)}.`);
  }
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(rules, name)) {
      throw new ConfigurationError(
        `${owner} has no option '${name}'. Its options are: ${Object.keys(rules).join(', ')}.`,
      );
    }
  }
  const resolved: Record<string, unknown> = {};
  for (const [name, rule] of Object.entries(rules)) {
    const value = (options as Record<string, unknown>)[name];
    const fault = value === undefined ? undefined : rule.fault(value);
    if (fault !== undefined) {
      throw new ConfigurationError(`Option '${name}' of ${owner} ${fault}.`);
    }
    resolved[name] = rule.isGroup ? withDefaults(value, rule.default) : (value ?? rule.default);
  }
  return resolved;
}

/** An object of settings, with the defaults of those that were not given. */
export function withDefaults(given: unknown, defaults: unknown): object {
  const own = Object.entries(given ?? {}).filter(([, value]) => value !== undefined);
  return { ...(defaults as object), ...Object.fromEntries(own) };
}
