import { ConnectError, ConnectionClosedError, OutcomeUnknownError, PublishTimeoutError } from '../errors.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import { onlyValueId, parseFrame } from '../protocol/frames.js';
import { IdSequence, randomId } from '../protocol/ids.js';
import type { Log } from '../redis/log.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { messageOf } from '../redis/redis-errors.js';
import { loadAddMany } from '../redis/scripts/add-many.js';
import { BurstLog } from '../util/burst-log.js';
import { IdMap } from '../util/id-map.js';
import { Shared, type Usage } from '../util/shared.js';
import { pause, settledWithin } from '../util/time.js';
import { Cancellations } from './cancellations.js';
import { Outbox, type OutgoingMessage } from './outbox.js';
import {
  asRefusal,
  OutgoingRequest,
  type RequestHost,
  type RequestParts,
  type SendSettings,
} from './outgoing-request.js';
import { ReplyStream } from './reply-stream.js';
import { RoomMaker, type StreamLimits } from './room-maker.js';
import { StreamLengths } from './stream-lengths.js';
import { TopicRegistry } from './topic-registry.js';

/** How long a reply stream that could not be made, though Redis answers, is left alone. */
const ENSURE_AGAIN_MS = 1_000;

/** What all clients of a module share: an id, the outbox, the requests that wait, and the stream with their replies. */
export class ClientSession extends Shared implements RequestHost {
  private readonly id = randomId();
  private readonly ids = new IdSequence(this.id);
  private readonly pending = new IdMap<OutgoingRequest>();
  private readonly lengths: StreamLengths;
  private readonly topics: TopicRegistry;
  private readonly outbox: Outbox;
  private readonly cancellations: Cancellations;
  private readonly replies: ReplyStream;
  private readonly warnings: BurstLog;
  private usage: Usage | undefined;
  private isStarted = false;
  private requests = 0;

  constructor(
    readonly namespace: NamespaceConnection,
    private readonly connectTimeout: number,
    log: Log,
  ) {
    super();
    this.warnings = new BurstLog((line) => log.warn(line));
    this.lengths = new StreamLengths(namespace.commands, new RoomMaker(namespace, this.warnings));
    this.cancellations = new Cancellations(namespace, this.warnings);
    this.topics = new TopicRegistry(namespace);
    this.outbox = new Outbox(namespace.commands, this.lengths);
    this.replies = new ReplyStream(namespace, this.id, log, (field, payload) => this.onFrame(field, payload));
    namespace.onForgotten(() => this.topics.forget());
    namespace.commands.on('lost', () => {
      this.outbox.shut();
      this.cancellations.interrupt();
    });
    namespace.commands.on('ready', () => {
      this.cancellations.resume();
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
   * @returns the request; `abandon()` ends it without a callback, and cancels it, at any time, also when it has ended
   */
  request(parts: RequestParts): OutgoingRequest {
    const id = parts.entry.id ?? this.newRequestId();
    parts.entry.id = id;
    parts.entry.reply = this.id;
    const request = new OutgoingRequest(id, this.requests++, parts, this);
    this.pending.add(id, request);
    this.replies.keepAtLeast(parts.settings.timeout);
    try {
      this.outbox.add(request, parts.settings.maxQueued);
    } catch (error) {
      // Nobody expects an answer before subscribe() has returned.
      process.nextTick(() => request.fail(error as Error));
    }
    return request;
  }

  /** For a request whose id somebody has to see before it is sent. */
  newRequestId(): string {
    return this.ids.next();
  }

  /** Whether one more message may be written to a stream of the namespace; `pattern` is that of a topic. */
  admit(
    stream: string,
    pattern: string | undefined,
    limits: StreamLimits,
    now: number,
  ): Promise<void> | undefined {
    if (this.namespace.mismatch) {
      return Promise.reject(this.namespace.mismatch);
    }
    return this.lengths.admit(stream, pattern, limits, now);
  }

  ended(request: OutgoingRequest): void {
    this.pending.delete(request.id);
    this.outbox.withdraw(request);
  }

  left(request: OutgoingRequest): void {
    this.cancellations.add(request);
  }

  /** Publishes an event; resolves once Redis has stored it. */
  publish(content: OutgoingEntry, settings: SendSettings): Promise<void> {
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
        waits: false,
        withdrawn: false,
        written: false,
        prepare: (now) => this.admit(stream, pattern, settings, now) ?? this.topics.ensure(pattern),
        stored: () => {
          clearTimeout(timer);
          resolve();
        },
        refused: (error) => fail(asRefusal(pattern, error)),
        unanswered: (cause) => fail(new OutcomeUnknownError(pattern, { cause })),
        unwritten: () => undefined,
      };
      try {
        this.outbox.add(message, settings.maxQueued);
      } catch (error) {
        fail(error as Error);
      }
    });
  }

  /** Ends all requests of an owner with an error. */
  failAll(owner: object, error: Error): void {
    for (const request of this.inOrder()) {
      if (request.owner === owner) {
        request.fail(error);
      }
    }
  }

  /** Resolves when all requests that were left have been cancelled, or cannot be; `undefined` where that is so now. */
  whenCancelled(): Promise<void> | undefined {
    return this.cancellations.whenIdle();
  }

  protected async start(): Promise<void> {
    const usage = this.namespace.use();
    this.usage = usage;
    // Everybody may leave while this waits, and others come, who start anew.
    const assertCurrent = (): void => {
      if (this.usage !== usage) {
        throw new ConnectionClosedError('The connection was closed while it was being opened.');
      }
    };
    try {
      await usage.ready;
      assertCurrent();
      await this.namespace.settingUp(() => this.prepare());
      assertCurrent();
      if (!(await settledWithin(this.replies.start(), this.connectTimeout))) {
        throw new ConnectError(`The connection for replies did not open within ${this.connectTimeout} ms.`);
      }
      assertCurrent();
    } catch (error) {
      if (this.usage === usage) {
        this.replies.stop();
      }
      usage.release();
      throw error;
    }
    this.isStarted = true;
    if (this.namespace.commands.isReady) {
      this.outbox.open();
    }
  }

  protected stop(): void {
    this.isStarted = false;
    const closed = new ConnectionClosedError('Connection closed');
    for (const request of this.inOrder()) {
      request.fail(closed);
    }
    this.outbox.close(closed);
    this.cancellations.close();
    this.replies.stop();
    this.topics.forget();
    this.warnings.close();
    this.usage?.release();
    this.usage = undefined;
  }

  /** What must be there before the first message of a connection is written. */
  private async prepare(): Promise<void> {
    await loadAddMany(this.namespace.commands.client);
    await this.replies.ensure();
  }

  /** After a reconnect: nothing may be written before the stream for its reply is there again. */
  private async reopen(): Promise<void> {
    this.topics.forget();
    while (this.isStarted && this.namespace.commands.isReady) {
      try {
        await this.prepare();
        this.outbox.open();
        return;
      } catch (error) {
        if (!this.namespace.commands.isReady) {
          return;
        }
        this.warnings.report(
          'reply stream',
          `The reply stream cannot be made: ${messageOf(error)}; trying again`,
        );
        await pause(ENSURE_AGAIN_MS);
      }
    }
  }

  /** What is pending, in the order in which it was sent. */
  private inOrder(): OutgoingRequest[] {
    return this.pending.values().sort((one, other) => one.number - other.number);
  }

  private onFrame(field: string, payload: Buffer): void {
    try {
      // A request that is not there: nobody waits any more, since its caller has left, or the reply was read before.
      const id = onlyValueId(field);
      const request = id === undefined ? undefined : this.pending.get(id);
      if (request) {
        request.receiveOnly(payload);
        return;
      }
      const frame = parseFrame(field);
      this.pending.get(frame.id)?.receive(frame, payload);
    } catch (error) {
      this.warnings.report('reply frame', `A frame in the reply stream was passed over: ${messageOf(error)}`);
    }
  }
}
