import { OutcomeUnknownError, PublishTimeoutError, type RedisStreamsError } from '../errors.js';
import type { OutgoingEntry } from '../protocol/entry.js';
import { messageOf } from '../redis/redis-errors.js';
import { loadAddMany } from '../redis/scripts/add-many.js';
import type { Shard } from '../redis/shard.js';
import type { BurstLog } from '../util/burst-log.js';
import { pause } from '../util/time.js';
import { Cancellations } from './cancellations.js';
import { Outbox, type OutgoingMessage } from './outbox.js';
import {
  asRefusal,
  OutgoingRequest,
  type RequestHost,
  type RequestParts,
  type SendSettings,
} from './outgoing-request.js';
import { RoomMaker, type StreamLimits } from './room-maker.js';
import { StreamLengths } from './stream-lengths.js';
import { TopicRegistry } from './topic-registry.js';

/** How long a reply stream that could not be made, though Redis answers, is left alone. */
const ENSURE_AGAIN_MS = 1_000;

/** What a publisher is made from. */
export interface PublisherDeps {
  shard: Shard;
  warnings: BurstLog;
  /** Sees to it that the stream for replies is there. */
  ensureReplies: () => Promise<void>;
  /** A request needs nothing any more. */
  ended: (request: OutgoingRequest) => void;
  /** How many messages wait to be written, to all shards. */
  waitingInAll: () => number;
}

/** Writes requests and events into the streams of one shard, and cancels requests there. */
export class Publisher implements RequestHost {
  readonly shard: Shard;
  private readonly topics: TopicRegistry;
  private readonly lengths: StreamLengths;
  private readonly outbox: Outbox;
  private readonly cancellations: Cancellations;
  private readonly inboxes = new Map<string, string>();
  private isStarted = false;

  constructor(private readonly deps: PublisherDeps) {
    const { shard, warnings } = deps;
    this.shard = shard;
    this.topics = new TopicRegistry(shard);
    shard.onForgotten(() => this.topics.registerAgain());
    this.lengths = new StreamLengths(shard.commands, new RoomMaker(shard, warnings));
    this.cancellations = new Cancellations(shard, warnings);
    this.outbox = new Outbox(shard.commands, this.lengths, deps.waitingInAll);
    shard.commands.on('lost', () => {
      this.outbox.shut();
      this.cancellations.interrupt();
    });
    shard.commands.on('ready', () => {
      this.cancellations.resume();
      if (this.isStarted) {
        void this.reopen();
      }
    });
  }

  /** How many messages wait to be written. */
  get queued(): number {
    return this.outbox.size;
  }

  /**
   * Sends a request.
   * @param number which of its session's requests it is
   */
  request(id: string, number: number, parts: RequestParts): OutgoingRequest {
    const request = new OutgoingRequest(id, number, this.inbox(parts.service), parts, this);
    try {
      this.outbox.add(request, parts.settings.maxQueued);
    } catch (error) {
      // Nobody expects an answer before subscribe() has returned.
      process.nextTick(() => request.fail(error as Error));
    }
    return request;
  }

  /** Publishes an event; resolves once Redis has stored it. */
  publish(content: OutgoingEntry, settings: SendSettings): Promise<void> {
    const { pattern } = content;
    const { timeout } = settings;
    const stream = this.shard.keys.topic(pattern);
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
        prepare: (now) => this.admit(stream, pattern, settings, now) ?? this.topics.ensure(pattern, now),
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

  admit(
    stream: string,
    pattern: string | undefined,
    limits: StreamLimits,
    now: number,
  ): Promise<void> | undefined {
    if (this.shard.mismatch) {
      return Promise.reject(this.shard.mismatch);
    }
    return this.lengths.admit(stream, pattern, limits, now);
  }

  ended(request: OutgoingRequest): void {
    this.deps.ended(request);
    this.outbox.withdraw(request);
  }

  left(request: OutgoingRequest): void {
    this.cancellations.add(request);
  }

  /** Resolves when all requests that were left have been cancelled, or cannot be; `undefined` where that is so now. */
  whenCancelled(): Promise<void> | undefined {
    return this.cancellations.whenIdle();
  }

  /** What must be there before the first message of a connection is written. */
  async prepare(): Promise<void> {
    await loadAddMany(this.shard.commands.client);
    await this.deps.ensureReplies();
  }

  /** From now on messages are written. Once everything is prepared. */
  start(): void {
    this.isStarted = true;
    if (this.shard.commands.isReady) {
      this.outbox.open();
    }
  }

  /** Refuses what waits, and what comes, with an error. */
  stop(error: RedisStreamsError): void {
    this.isStarted = false;
    this.topics.forget();
    this.outbox.close(error);
    this.cancellations.close();
  }

  /** After a reconnect: nothing may be written before the stream for its reply is there again. */
  private async reopen(): Promise<void> {
    const { warnings } = this.deps;
    this.topics.forget();
    while (this.isStarted && this.shard.commands.isReady) {
      try {
        await this.prepare();
        this.outbox.open();
        return;
      } catch (error) {
        if (!this.shard.commands.isReady) {
          return;
        }
        warnings.report('reply stream', `The reply stream cannot be made: ${messageOf(error)}; trying again`);
        await pause(ENSURE_AGAIN_MS);
      }
    }
  }

  /** The same text each time: it is compared for every message. */
  private inbox(service: string): string {
    let inbox = this.inboxes.get(service);
    if (inbox === undefined) {
      inbox = this.shard.keys.inbox(service);
      this.inboxes.set(service, inbox);
    }
    return inbox;
  }
}
