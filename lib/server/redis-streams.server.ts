import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { Logger } from '@nestjs/common';
import {
  Server,
  type CustomTransportStrategy,
  type Deserializer,
  type MessageHandler,
} from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import type { Observable } from 'rxjs';
import { REDIS_STREAMS } from '../constants.js';
import { ConfigurationError } from '../errors.js';
import { resolveHandlerOptions } from '../handler-options.js';
import type { RedisStreamsHooks } from '../hooks.js';
import {
  resolveServerOptions,
  type RedisStreamsServerOptions,
  type ResolvedServerOptions,
} from '../options.js';
import { subscriptionFault } from '../protocol/wildcard.js';
import { Namespace } from '../redis/namespace.js';
import {
  TransportEvents,
  type RedisStreamsEvents,
  type RedisStreamsStatus,
} from '../redis/transport-events.js';
import type { Usage } from '../util/shared.js';
import type { RedisStreamsContext } from './context.js';
import type { WithHooks } from './pipeline.js';
import { Handlers } from './handlers.js';
import { Worker } from './worker.js';

type StartHook = Parameters<Server['setOnProcessingStartHook']>[0];
type EndHook = Parameters<Server['setOnProcessingEndHook']>[0];

/**
 * Serves `@MessagePattern` and `@EventPattern` handlers over Redis Streams: give it as `strategy` to
 * `NestFactory.createMicroservice` or `app.connectMicroservice`.
 *
 * It is `idle` until `listen()`, then `listening`, then, by `close()`, idle again, and may listen once more.
 */
export class RedisStreamsServer extends Server<RedisStreamsEvents> implements CustomTransportStrategy {
  /** Handlers bound to another transport are not registered here. A field, since Nest 12's base class has one. */
  override readonly transportId: symbol = REDIS_STREAMS;
  /** We log what an event handler fails with, so Nest needs not; read from Nest 12.0.4 on. */
  override readonly propagatesEventHandlerErrors = true;
  protected override readonly logger = new Logger(RedisStreamsServer.name);
  private readonly options: ResolvedServerOptions;
  private readonly namespace: Namespace;
  private readonly handlers = new Handlers();
  private readonly events: TransportEvents;
  private worker: Worker | undefined;
  private usage: Usage | undefined;
  private starting: Promise<void> | undefined;
  private closing: Promise<void> | undefined;
  private startHook: StartHook | undefined;
  private endHook: EndHook | undefined;

  /**
   * Throws a `ConfigurationError` for options that cannot be used. Opens no connection.
   * @param namespace shared with clients; `RedisStreamsModule` gives it, others leave it out
   */
  constructor(options: RedisStreamsServerOptions = {}, namespace?: Namespace) {
    super();
    this.options = resolveServerOptions(options);
    this.initializeSerializer(this.options);
    this.initializeDeserializer(this.options);
    this.namespace = namespace ?? new Namespace(this.options, this.logger);
    this.events = new TransportEvents(this.namespace.link, this._status$);
  }

  /**
   * Connects, registers this instance, makes its consumer groups and starts reading. Calls back once it reads, or with
   * the error that kept it from doing so; it never throws, since Nest would not see it.
   */
  listen(callback: (error?: unknown, ...optionalParams: unknown[]) => unknown): void {
    if (this.starting) {
      callback(
        new ConfigurationError(
          'This RedisStreamsServer is listening already; give each microservice a server of its own.',
        ),
      );
      return;
    }
    this.starting = this.start();
    this.starting.then(
      () => callback(),
      (error: unknown) => {
        this.starting = undefined;
        callback(error);
      },
    );
  }

  /**
   * Stops reading, waits up to `shutdownTimeout` for running handlers, stores their replies and disconnects. Never
   * rejects; may be called before `listen()` and twice.
   */
  close(): Promise<void> {
    this.closing ??= this.stop()
      .catch((error: unknown) => this.logger.error(error))
      .finally(() => (this.closing = undefined));
    return this.closing;
  }

  override addHandler(
    pattern: unknown,
    callback: MessageHandler,
    isEventHandler = false,
    extras: Record<string, unknown> = {},
  ): void {
    if (pattern instanceof RegExp) {
      throw new ConfigurationError(
        `The pattern ${String(pattern)} is a regular expression, which this transport cannot subscribe to; use a string, number or object.`,
      );
    }
    const route = this.normalizePattern(pattern as string);
    callback.isEventHandler = isEventHandler;
    callback.extras = extras;
    if (isEventHandler) {
      this.addEventHandler(route, callback, extras, typeof pattern === 'string');
    } else if (this.handlers.addRequest(route, callback)) {
      this.logger.warn(`Pattern '${route}' has more than one @MessagePattern handler; the last one is used`);
    }
    if (!isEventHandler || !this.messageHandlers.has(route)) {
      this.messageHandlers.set(route, callback);
    }
  }

  private addEventHandler(
    route: string,
    handle: MessageHandler,
    extras: Record<string, unknown>,
    isText: boolean,
  ): void {
    const fault = subscriptionFault(route, isText);
    if (fault !== undefined) {
      throw new ConfigurationError(`The event pattern '${route}' ${fault}.`);
    }
    const { retry, broadcast } = resolveHandlerOptions(extras, this.options, route);
    if (broadcast) {
      this.handlers.addBroadcast(route, { handle, retry });
    } else {
      this.handlers.addEvent(route, { handle, retry });
    }
  }

  /** The handler of a route. Nest's own way parses every pattern as JSON and misses those that look like it. */
  override getHandlerByPattern(pattern: string): MessageHandler | null {
    return this.messageHandlers.get(pattern) ?? super.getHandlerByPattern(pattern);
  }

  override setOnProcessingStartHook(hook: StartHook): void {
    super.setOnProcessingStartHook(hook);
    this.startHook = hook;
  }

  override setOnProcessingEndHook(hook: EndHook): void {
    super.setOnProcessingEndHook(hook);
    this.endHook = hook;
  }

  /** `connected`, `reconnecting` or `disconnected`; nothing before `listen()`. */
  // Nest's type parameter for this would make the class no `Server` to TypeScript.
  override get status(): Observable<RedisStreamsStatus> {
    return super.status as Observable<RedisStreamsStatus>;
  }

  /** The ioredis instance for commands. Throws before `listen()`. */
  unwrap<T = Redis>(): T {
    return this.namespace.root.commands.client as T;
  }

  /** Tells of what this server does; shared with the clients of the same module. */
  get hooks(): RedisStreamsHooks {
    return this.namespace.hooks;
  }

  /** Listens to the command connection: `ready`, `reconnecting`, `close`. May be called before `listen()`. */
  on<Event extends keyof RedisStreamsEvents>(event: Event, callback: RedisStreamsEvents[Event]): void {
    this.events.on(event, callback);
  }

  private async start(): Promise<void> {
    const { service } = this.options;
    if (service === undefined) {
      throw new ConfigurationError(
        "Option 'service' of RedisStreamsServer is missing: clients reach this server by it.",
      );
    }
    await this.options.codec.load?.();
    const usage = this.namespace.use();
    this.usage = usage;
    try {
      await usage.ready;
      this.worker = this.createWorker(service);
      await this.worker.start();
    } catch (error) {
      await this.worker?.stop(0);
      this.worker = undefined;
      usage.release();
      throw error;
    }
    this.events.follow();
    const { requestCount, eventCount } = this.handlers;
    this.logger.log(
      `Service '${service}' listens on Redis at ${this.namespace.address}, namespace '${this.options.namespace}': ` +
        `${requestCount} request patterns, ${eventCount} event patterns (instance ${this.worker.instance})`,
    );
  }

  private createWorker(service: string): Worker {
    const random = randomBytes(6).toString('base64url');
    return new Worker({
      namespace: this.namespace,
      options: this.options,
      handlers: this.handlers,
      instance: { service, id: `${hostname()}-${process.pid}-${random}`, random },
      log: this.logger,
      deserializer: this.deserializer as Deserializer,
      normalize: (pattern) => this.getRouteFromPattern(pattern),
      hooks: () => (this.startHook || this.endHook ? this.withHooks : undefined),
    });
  }

  private async stop(): Promise<void> {
    const { starting } = this;
    if (!starting) {
      return;
    }
    if (!this.worker) {
      // Still connecting: nothing to wait for.
      this.usage?.release();
    }
    await starting.catch(() => undefined);
    try {
      await this.worker?.stop(this.options.shutdownTimeout);
    } finally {
      this.worker = undefined;
      this.starting = undefined;
      this.events.unfollow();
      this.usage?.release();
    }
  }

  /** Resolves when `work` has ended; what a hook returns says nothing about that. */
  private readonly withHooks: WithHooks = (context, work) => {
    const { startHook, endHook } = this;
    const finish = async (): Promise<void> => {
      try {
        await work();
      } finally {
        this.runEndHook(endHook, context);
      }
    };
    if (!startHook) {
      return finish();
    }
    return new Promise((resolve, reject) => {
      startHook(this.transportId, context, () => finish().then(resolve, reject));
    });
  };

  /** The message has been handled by then, so that a failing hook must not make it a failure. */
  private runEndHook(endHook: EndHook | undefined, context: RedisStreamsContext): void {
    try {
      endHook?.(this.transportId, context);
    } catch (error) {
      this.logger.error(error);
    }
  }
}
