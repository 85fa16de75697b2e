import { Logger } from '@nestjs/common';
import { ClientProxy, type Deserializer, type MsPattern } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import type { Observable } from 'rxjs';
import { ConfigurationError, ConnectionClosedError, RedisStreamsError } from '../errors.js';
import type { RedisStreamsHooks } from '../hooks.js';
import {
  resolveClientOptions,
  type RedisStreamsClientOptions,
  type ResolvedClientOptions,
} from '../options.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import { NamespaceConnection } from '../redis/namespace-connection.js';
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
import { isRecord } from './record.js';

/** How long `close()` waits for Redis to confirm what was emitted or left before. */
const CLOSE_GRACE_MS = 2_000;

/** From one connect() to the close() after it. */
interface Attempt {
  ready: Promise<void>;
  usage: Usage | undefined;
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
  private readonly publishing = new WaitGroup();
  private inbox: string | undefined;
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
      new ClientSession(
        new NamespaceConnection(this.options, this.logger),
        this.options.connectTimeout,
        this.logger,
      );
    this.events = new TransportEvents(this.session.namespace.commands, this._status$);
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
    return this.session.namespace.commands.client as T;
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

  protected publish(packet: OutgoingPacket, callback: (packet: ReplyPacket) => void): () => void {
    let request: OutgoingRequest | undefined;
    let hasLeft = false;
    const start = (content: OutgoingEntry): void => {
      if (!hasLeft) {
        const service = this.requireService();
        this.inbox ??= this.session.namespace.keys.inbox(service);
        request = this.session.request({
          entry: content,
          stream: this.inbox,
          service,
          settings: this.settingsFor(packet),
          handling: this.handling,
          restartable: isRecord(packet.data) && packet.data.restartable,
          callback,
          owner: this,
        });
      }
    };
    try {
      const content = this.composer.compose(packet, this.newRequestId);
      if (isPromise(content)) {
        content.then(start).catch((error: unknown) => callback({ err: error }));
      } else {
        start(content);
      }
    } catch (error) {
      callback({ err: error });
    }
    return () => {
      hasLeft = true;
      request?.abandon();
    };
  }

  protected dispatchEvent<T = void>(packet: OutgoingPacket): Promise<T> {
    const published = this.publishEvent(packet);
    this.publishing.add();
    published.then(
      () => this.publishing.done(),
      (error: unknown) => {
        this.publishing.done();
        // emit() is hot: when nobody has subscribed to what it returned, this line is all that tells of the failure.
        const code = error instanceof RedisStreamsError ? error.code : 'unexpected error';
        this.failures.report(`Events not published (${code})`, `${String(error)}`);
      },
    );
    return published as Promise<T>;
  }

  private async publishEvent(packet: OutgoingPacket): Promise<void> {
    await this.session.publish(await this.composer.compose(packet, undefined), this.settingsFor(packet));
  }

  private begin(): Attempt {
    const attempt: Attempt = { ready: Promise.resolve(), usage: undefined, isOver: false };
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
    this.events.follow();
  }

  private async finish({ ready }: Attempt): Promise<void> {
    await ready;
    // emit() goes on from connect() to dispatchEvent() in promises of its own.
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([this.publishing.wait(), this.session.whenCancelled()]);
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

  private settingsFor(packet: OutgoingPacket): SendSettings {
    const { data } = packet;
    return isRecord(data) && data.timeout !== undefined
      ? { ...this.options, timeout: data.timeout }
      : this.options;
  }
}
