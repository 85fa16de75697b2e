import {
  ConnectError,
  ConnectionClosedError,
  OutcomeUnknownError,
  PublishRefusedError,
  PublishTimeoutError,
  RedisStreamsError,
  RequestTimeoutError,
} from '../errors.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import { parseFrame } from '../protocol/frames.js';
import { IdSequence, randomId } from '../protocol/ids.js';
import type { Log } from '../redis/log.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { messageOf } from '../redis/redis-errors.js';
import { BurstLog } from '../util/burst-log.js';
import { Shared } from '../util/shared.js';
import { pause, settledWithin } from '../util/time.js';
import { Outbox, type OutgoingMessage } from './outbox.js';
import { PendingRequest, type ReplyHandling, type ReplyPacket } from './pending-request.js';
import { ReplyStream } from './reply-stream.js';
import { StreamLengths } from './stream-lengths.js';
import { TopicRegistry } from './topic-registry.js';

/** How long a reply stream that could not be made, though Redis answers, is left alone. */
const ENSURE_AGAIN_MS = 1_000;

/** The settings of one client that its messages carry along. */
export interface SendSettings {
  timeout: number;
  maxQueued: number;
  maxLength: number;
}

/** What a message consists of before the session adds its part. */
export type Content = Pick<OutgoingEntry, 'pattern' | 'data' | 'headers' | 'codec' | 'packet'>;

/** What all clients of a module share: an id, the outbox, the requests that wait, and the stream with their replies. */
export class ClientSession extends Shared {
  private readonly id = randomId();
  private readonly ids = new IdSequence(this.id);
  private readonly pending = new Map<string, { request: PendingRequest; owner: object }>();
  private readonly lengths: StreamLengths;
  private readonly topics: TopicRegistry;
  private readonly outbox: Outbox;
  private readonly replies: ReplyStream;
  private readonly warnings: BurstLog;
  private isStarted = false;

  constructor(
    readonly namespace: NamespaceConnection,
    private readonly connectTimeout: number,
    log: Log,
  ) {
    super();
    this.warnings = new BurstLog((line) => log.warn(line));
    this.lengths = new StreamLengths(namespace.commands);
    this.topics = new TopicRegistry(namespace);
    this.outbox = new Outbox(namespace.commands, this.lengths);
    this.replies = new ReplyStream(namespace, this.id, log, (field, payload) => this.onFrame(field, payload));
    namespace.onForgotten(() => this.topics.forget());
    namespace.commands.on('lost', () => this.outbox.shut());
    namespace.commands.on('ready', () => {
      if (this.isStarted) {
        void this.reopen();
      }
    });
  }

  /** How many requests wait for a reply. */
  get pendingRequests(): number {
    return this.pending.size;
  }

  /** How many messages wait to be written. */
  get queuedMessages(): number {
    return this.outbox.size;
  }

  /**
   * Sends a request. The callback gets what comes back, the last of it with `isDisposed`, or one error.
   * @param owner who may end it by `failAll`
   * @returns ends the request without a callback; may be called at any time, also when it has ended
   */
  request(
    content: Content,
    service: string,
    settings: SendSettings,
    handling: ReplyHandling,
    callback: (packet: ReplyPacket) => void,
    owner: object,
  ): () => void {
    const id = this.ids.next();
    const { pattern } = content;
    const { timeout } = settings;
    const request = new PendingRequest(id, pattern, handling, callback, () => {
      clearTimeout(timer);
      this.pending.delete(id);
      this.outbox.withdraw(message);
    });
    const timer = setTimeout(() => request.fail(new RequestTimeoutError(pattern, service, timeout)), timeout);
    const stream = this.namespace.keys.inbox(service);
    const message: OutgoingMessage = {
      stream,
      entry: { ...content, id, reply: this.id },
      deadline: performance.now() + timeout,
      withdrawn: false,
      written: false,
      prepare: (now) => this.lengths.admit(stream, settings.maxLength, now),
      stored: () => undefined,
      refused: (error) => request.fail(asRefusal(pattern, error)),
      // It may have arrived: its reply or its timeout will tell.
      unanswered: () => undefined,
    };
    this.pending.set(id, { request, owner });
    this.replies.keepAtLeast(timeout);
    try {
      this.enqueue(message, settings);
    } catch (error) {
      request.fail(error as Error);
    }
    return () => request.abandon();
  }

  /** Publishes an event; resolves once Redis has stored it. */
  publish(content: Content, settings: SendSettings): Promise<void> {
    const { pattern } = content;
    const { timeout } = settings;
    const stream = this.namespace.keys.topic(pattern);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.outbox.withdraw(message);
        fail(message.written ? new OutcomeUnknownError(pattern) : new PublishTimeoutError(pattern, timeout));
      }, timeout);
      const fail = (error: Error): void => {
        clearTimeout(timer);
        reject(error);
      };
      const message: OutgoingMessage = {
        stream,
        entry: content,
        deadline: undefined,
        withdrawn: false,
        written: false,
        prepare: (now) => this.topics.ensure(pattern) ?? this.lengths.admit(stream, settings.maxLength, now),
        stored: () => {
          clearTimeout(timer);
          resolve();
        },
        refused: (error) => fail(asRefusal(pattern, error)),
        unanswered: (cause) => fail(new OutcomeUnknownError(pattern, { cause })),
      };
      try {
        this.enqueue(message, settings);
      } catch (error) {
        fail(error as Error);
      }
    });
  }

  /** Ends all requests of an owner with an error. */
  failAll(owner: object, error: Error): void {
    for (const entry of [...this.pending.values()]) {
      if (entry.owner === owner) {
        entry.request.fail(error);
      }
    }
  }

  protected async start(): Promise<void> {
    await this.namespace.open();
    try {
      await this.replies.ensure();
      if (!(await settledWithin(this.replies.start(), this.connectTimeout))) {
        throw new ConnectError(`The connection for replies did not open within ${this.connectTimeout} ms.`);
      }
    } catch (error) {
      this.replies.stop();
      this.namespace.close();
      throw error;
    }
    this.isStarted = true;
    this.outbox.open();
  }

  protected stop(): void {
    if (!this.isStarted) {
      return;
    }
    this.isStarted = false;
    const closed = new ConnectionClosedError('Connection closed');
    for (const { request } of [...this.pending.values()]) {
      request.fail(closed);
    }
    this.outbox.close(closed);
    this.replies.stop();
    this.topics.forget();
    this.warnings.close();
    this.namespace.close();
  }

  private enqueue(message: OutgoingMessage, settings: SendSettings): void {
    if (this.namespace.mismatch) {
      throw this.namespace.mismatch;
    }
    this.outbox.add(message, settings.maxQueued);
  }

  /** After a reconnect: nothing may be written before the stream for its reply is there again. */
  private async reopen(): Promise<void> {
    this.topics.forget();
    while (this.isStarted && this.namespace.commands.isReady) {
      try {
        await this.replies.ensure();
        this.outbox.open();
        return;
      } catch (error) {
        this.warnings.report(
          'reply stream',
          `The reply stream cannot be made: ${messageOf(error)}; trying again`,
        );
        await pause(ENSURE_AGAIN_MS);
      }
    }
  }

  private onFrame(field: string, payload: Buffer): void {
    try {
      const frame = parseFrame(field);
      // A reply nobody waits for any more: its caller has left, or it was read before.
      this.pending.get(frame.id)?.request.receive(frame, payload);
    } catch (error) {
      this.warnings.report('reply frame', `A frame in the reply stream was passed over: ${messageOf(error)}`);
    }
  }
}

function asRefusal(pattern: string, error: Error): Error {
  return error instanceof RedisStreamsError ? error : new PublishRefusedError(pattern, { cause: error });
}
