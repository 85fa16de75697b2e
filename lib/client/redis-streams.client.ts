import { Logger } from '@nestjs/common';
import { ClientProxy, type Deserializer, type MsPattern, type ReadPacket } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import type { Observable } from 'rxjs';
import {
  ConfigurationError,
  ConnectionClosedError,
  PayloadTooLargeError,
  RedisStreamsError,
} from '../errors.js';
import {
  resolveClientOptions,
  type RedisStreamsClientOptions,
  type ResolvedClientOptions,
} from '../options.js';
import { encodeValue } from '../protocol/codec.js';
import { areHeaders, type MessageHeaders, type OutgoingEntry } from '../protocol/entry.js';
import { JSON_CODEC } from '../protocol/json.codec.js';
import { exceeds, payloadBytes, type Payload } from '../protocol/payload.js';
import { NamespaceConnection } from '../redis/namespace-connection.js';
import { BurstLog } from '../util/burst-log.js';
import type { Usage } from '../util/shared.js';
import { settledWithin } from '../util/time.js';
import { ClientSession } from './client-session.js';
import type { OutgoingRequest, SendSettings } from './outgoing-request.js';
import type { ReplyHandling, ReplyPacket } from './pending-request.js';
import { isRecord } from './record.js';
import {
  TransportEvents,
  type RedisStreamsEvents,
  type RedisStreamsStatus,
} from '../redis/transport-events.js';
import { isPromise } from '../util/promise.js';

/** How long `close()` waits for Redis to confirm events that were emitted before. */
const CLOSE_GRACE_MS = 2_000;

/** From one connect() to the close() after it. */
interface Attempt {
  ready: Promise<void>;
  usage: Usage | undefined;
  /** Set when close() has done its waiting. */
  isOver: boolean;
}

/** A packet, as Nest's `createPacket` makes it; `metadata` is there from Nest 12.0.4 on. */
type OutgoingPacket = ReadPacket<unknown> & { metadata?: MessageHeaders };

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
  private readonly events: TransportEvents;
  private readonly failures = new BurstLog((line) => this.logger.error(line));
  private readonly publishing = new Set<Promise<void>>();
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
   * Fails what is pending with a `ConnectionClosedError`, waits up to two seconds for emitted events to be stored, and
   * disconnects. Never rejects. The next message connects again.
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
    await settledWithin(this.finishPublishing(attempt), CLOSE_GRACE_MS);
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
          callback,
          owner: this,
        });
      }
    };
    try {
      const content = this.contentOf(packet, true);
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
    this.publishing.add(published);
    published.then(
      () => this.publishing.delete(published),
      (error: unknown) => {
        this.publishing.delete(published);
        // emit() is hot: when nobody has subscribed to what it returned, this line is all that tells of the failure.
        const code = error instanceof RedisStreamsError ? error.code : 'unexpected error';
        this.failures.report(`Events not published (${code})`, `${String(error)}`);
      },
    );
    return published as Promise<T>;
  }

  private async publishEvent(packet: OutgoingPacket): Promise<void> {
    await this.session.publish(await this.contentOf(packet, false), this.settingsFor(packet));
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

  private async finishPublishing({ ready }: Attempt): Promise<void> {
    await ready;
    // emit() goes on from connect() to dispatchEvent() in promises of its own.
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.allSettled(this.publishing);
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

  /** Everything of an entry that does not depend on when it is written. */
  private contentOf(packet: OutgoingPacket, isRequest: boolean): OutgoingEntry | Promise<OutgoingEntry> {
    const record = isRecord(packet.data) ? packet.data : undefined;
    const data: unknown = record ? record.data : packet.data;
    const pattern = this.routeOf(packet);
    const headers = mergeHeaders(packet.metadata, record?.headers);
    if (!this.options.serializer) {
      return this.makeContent(pattern, data, headers, false);
    }
    // A serializer tells a request from an event by its id.
    const id = isRequest ? this.session.newRequestId() : undefined;
    const whole = id === undefined ? { ...packet, data } : { ...packet, data, id };
    const serialized: unknown = this.options.serializer.serialize(whole, { pattern });
    return isPromise(serialized)
      ? serialized.then((value: unknown) => ({ ...this.makeContent(pattern, value, headers, true), id }))
      : { ...this.makeContent(pattern, serialized, headers, true), id };
  }

  private makeContent(
    pattern: string,
    value: unknown,
    headers: MessageHeaders | undefined,
    packet: boolean,
  ): OutgoingEntry {
    const { codec, maxPayloadBytes } = this.options;
    const data: Payload = encodeValue(codec, value, `The data for '${pattern}'`);
    if (exceeds(data, maxPayloadBytes)) {
      throw new PayloadTooLargeError(pattern, payloadBytes(data), maxPayloadBytes);
    }
    return { pattern, data, headers, codec: codec.name === JSON_CODEC.name ? undefined : codec.name, packet };
  }

  private routeOf(packet: OutgoingPacket): string {
    const { pattern } = packet as { pattern: unknown };
    if (typeof pattern === 'string') {
      return pattern;
    }
    if (pattern instanceof RegExp) {
      throw new ConfigurationError(
        `The pattern ${String(pattern)} is a regular expression; give a string, number or object.`,
      );
    }
    return this.normalizePattern(pattern as MsPattern);
  }
}

function mergeHeaders(
  metadata: MessageHeaders | undefined,
  headers: MessageHeaders | undefined,
): MessageHeaders | undefined {
  if (!metadata) {
    return headers;
  }
  if (!areHeaders(metadata)) {
    throw new ConfigurationError("A packet's metadata must be an object whose values are strings.");
  }
  return { ...metadata, ...headers };
}
