import { Logger } from '@nestjs/common';
import { ClientProxy, type Deserializer, type MsPattern } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { Observable } from 'rxjs';
import { ConfigurationError, ConnectionClosedError, RedisStreamsError } from '../errors.js';
import type { RedisStreamsHooks } from '../hooks.js';
import {
  resolveClientOptions,
  type RedisStreamsClientOptions,
  type ResolvedClientOptions,
} from '../options.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import { Namespace } from '../redis/namespace.js';
import {
  TransportEvents,
  type RedisStreamsEvents,
  type RedisStreamsStatus,
} from '../redis/transport-events.js';
import { BurstLog } from '../util/burst-log.js';
import { isPromise } from '../util/promise.js';
import type { Usage } from '../util/shared.js';
import { settledWithin } from '../util/time.js';
import { WaitGroup } from '../util/wait-group.js';
import { ClientSession } from './client-session.js';
import { EntryComposer, type OutgoingPacket } from './entry-composer.js';
import type { OutgoingRequest, SendSettings } from './outgoing-request.js';
import type { ReplyHandling, ReplyPacket } from './pending-request.js';
import { isRecord, type RedisStreamsRecord } from './record.js';

/** How long `close()` waits for Redis to confirm what was emitted or left before. */
const CLOSE_GRACE_MS = 2_000;

/** From one connect() to the close() after it. */
interface Attempt {
  ready: Promise<void>;
  usage: Usage | undefined;
  isReady: boolean;
  /** Set when close() has done its waiting. */
  isOver: boolean;
}

/**
 * Sends requests to one service and publishes events, over Redis Streams.
 *
 * For `ClientsModule.register([{ name, customClass: RedisStreamsClient, options }])`, `ClientProxyFactory`,
 * `RedisStreamsModule.forClients` or `new`. Connects at its first message, or at `connect()`.
 */
export class RedisStreamsClient extends ClientProxy<RedisStreamsEvents> {
  protected readonly logger = new Logger(RedisStreamsClient.name);
  private readonly options: ResolvedClientOptions;
  private readonly session: ClientSession;
  private readonly handling: ReplyHandling;
  private readonly composer: EntryComposer;
  private readonly newRequestId = (): string => this.session.newRequestId();
  private readonly events: TransportEvents;
  private readonly failures = new BurstLog((line) => this.logger.error(line));
  private publishing = new WaitGroup();
  private attempt: Attempt | undefined;
  private closing: Promise<void> | undefined;

  /**
   * Throws a `ConfigurationError` for options that cannot be used. Opens no connection.
   * @param session shared with other clients; `RedisStreamsModule` gives it, others leave it out
   */
  constructor(options: RedisStreamsClientOptions = {}, session?: ClientSession) {
    super();
    this.options = resolveClientOptions(options);
    this.initializeSerializer(this.options);
    this.initializeDeserializer(this.options);
    this.handling = {
      codec: this.options.codec,
      deserializer: this.options.deserializer,
      packetDeserializer: this.deserializer as Deserializer,
    };
    this.composer = new EntryComposer(this.options, (pattern) => this.normalizePattern(pattern as MsPattern));
    this.session =
      session ??
      new ClientSession(new Namespace(this.options, this.logger), this.options.connectTimeout, this.logger);
    this.events = new TransportEvents(this.session.namespace.link, this._status$);
  }

  /**
   * Connects, once for all callers. Rejects within `connectTimeout` with a `ConnectError` where Redis cannot be
   * reached, and may be called again then.
   */
  connect(): Promise<void> {
    this.attempt ??= this.begin();
    return this.attempt.ready;
  }

  /**
   * Fails what is pending with a `ConnectionClosedError` and cancels it, waits up to two seconds for that and for
   * emitted events to be stored, and disconnects. Never rejects. The next message connects again.
   */
  close(): Promise<void> {
    this.closing ??= this.shutDown().finally(() => (this.closing = undefined));
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    const { attempt } = this;
    if (!attempt) {
      return;
    }
    this.attempt = undefined;
    this.session.failAll(this, new ConnectionClosedError('Connection closed'));
    await settledWithin(this.finish(attempt), CLOSE_GRACE_MS);
    this.failures.close();
    attempt.isOver = true;
    attempt.usage?.release();
    if (!this.attempt) {
      this.events.unfollow();
    }
  }

  /** `connected`, `reconnecting` or `disconnected`; nothing before the client connects. */
  // Nest's type parameter for this would make the class no `ClientProxy` to TypeScript.
  override get status(): Observable<RedisStreamsStatus> {
    return super.status as Observable<RedisStreamsStatus>;
  }

  /** The ioredis instance for commands. Throws before the client has connected. */
  unwrap<T = Redis>(): T {
    return this.session.namespace.root.commands.client as T;
  }

  /**
   * What the client has to report: `connected`, `lost`, `entriesLost`. Clients of a module share these with its server
   * and each other.
   */
  get hooks(): RedisStreamsHooks {
    return this.session.namespace.hooks;
  }

  /** Listens to the command connection: `ready`, `reconnecting`, `close`. May be called before connecting. */
  override on<Event extends keyof RedisStreamsEvents>(
    event: Event,
    callback: RedisStreamsEvents[Event],
  ): void {
    this.events.on(event, callback);
  }

  /**
   * Sends a request once the observable is subscribed to, and again for each subscription, as Nest's clients do. What
   * comes back, and what can go wrong: see `ClientProxy.send()`.
   */
  // A client that is connected waits for nothing: the promise and the operators that super.send() puts before a request
  // are a quarter of what it costs.
  override send<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    if (isNothing(pattern) || isNothing(data)) {
      return super.send<TResult, TInput>(pattern, data);
    }
    return new Observable<TResult>((observer) =>
      this.attempt?.isReady
        ? this.publish(this.packetOf(pattern, data), this.createObserver(observer))
        : super.send<TResult, TInput>(pattern, data).subscribe(observer),
    );
  }

  protected publish(packet: OutgoingPacket, callback: (packet: ReplyPacket) => void): () => void {
    const record = isRecord(packet.data) ? packet.data : undefined;
    try {
      const content = this.composer.compose(packet, record, this.newRequestId);
      if (isPromise(content)) {
        return this.publishLater(content, record, callback);
      }
      const request = this.request(content, record, callback);
      return () => request.abandon();
    } catch (error) {
      // Nobody expects an answer before subscribe() has returned.
      process.nextTick(callback, { err: error });
      return () => undefined;
    }
  }

  private publishLater(
    content: Promise<OutgoingEntry>,
    record: RedisStreamsRecord | undefined,
    callback: (packet: ReplyPacket) => void,
  ): () => void {
    let request: OutgoingRequest | undefined;
    let hasLeft = false;
    content
      .then((entry) => {
        if (!hasLeft) {
          request = this.request(entry, record, callback);
        }
      })
      .catch((error: unknown) => callback({ err: error }));
    return () => {
      hasLeft = true;
      request?.abandon();
    };
  }

  private request(
    entry: OutgoingEntry,
    record: RedisStreamsRecord | undefined,
    callback: (packet: ReplyPacket) => void,
  ): OutgoingRequest {
    return this.session.request({
      entry,
      service: this.requireService(),
      settings: this.settingsFor(record),
      handling: this.handling,
      restartable: record?.restartable ?? false,
      callback,
      owner: this,
    });
  }

  /** From Nest 12.0.4 on with what its dispatch hook has added. */
  private packetOf(pattern: unknown, data: unknown): OutgoingPacket {
    const packet = { pattern: pattern as string, data };
    return 'createPacket' in this ? this.createPacket(packet.pattern, data) : packet;
  }

  protected dispatchEvent<T = void>(packet: OutgoingPacket): Promise<T> {
    const published = this.publishEvent(packet);
    const { publishing } = this;
    publishing.add();
    published.then(
      () => publishing.done(),
      (error: unknown) => {
        publishing.done();
        // emit() is hot: when nobody has subscribed to what it returned, this line is all that tells of the failure.
        const code = error instanceof RedisStreamsError ? error.code : 'unexpected error';
        this.failures.report(`Events not published (${code})`, `${String(error)}`);
      },
    );
    return published as Promise<T>;
  }

  private async publishEvent(packet: OutgoingPacket): Promise<void> {
    const record = isRecord(packet.data) ? packet.data : undefined;
    await this.session.publish(
      await this.composer.compose(packet, record, undefined),
      this.settingsFor(record),
    );
  }

  private begin(): Attempt {
    const attempt: Attempt = {
      ready: Promise.resolve(),
      usage: undefined,
      isReady: false,
      isOver: false,
    };
    attempt.ready = this.open(attempt).catch((error: unknown) => {
      if (this.attempt === attempt) {
        this.attempt = undefined;
      }
      // emit() connects first: when nobody has subscribed to what it returned, this line is all that tells.
      this.failures.report('Connecting failed', String(error));
      throw error;
    });
    return attempt;
  }

  private async open(attempt: Attempt): Promise<void> {
    await this.options.codec.load?.();
    if (attempt.isOver) {
      throw new ConnectionClosedError('The client was closed while it was connecting.');
    }
    attempt.usage = this.session.use();
    await attempt.usage.ready;
    attempt.isReady = true;
    this.events.follow();
  }

  private async finish({ ready }: Attempt): Promise<void> {
    await ready;
    // emit() goes on from connect() to dispatchEvent() in promises of its own.
    await new Promise((resolve) => setImmediate(resolve));
    const { publishing } = this;
    // What is emitted from now on belongs to whoever opens the client again.
    this.publishing = new WaitGroup();
    await Promise.all([publishing.wait(), this.session.whenCancelled()]);
  }

  private requireService(): string {
    const { service } = this.options;
    if (service === undefined) {
      throw new ConfigurationError(
        "Option 'service' of RedisStreamsClient is missing: send() must know which service to ask.",
      );
    }
    return service;
  }

  private settingsFor(record: RedisStreamsRecord | undefined): SendSettings {
    return record?.timeout === undefined ? this.options : { ...this.options, timeout: record.timeout };
  }
}

/** What Nest's clients refuse to send, with an `InvalidMessageException`. */
function isNothing(value: unknown): boolean {
  return value === undefined || value === null;
}
