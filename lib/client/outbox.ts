import { QueueFullError, RedisStreamsError } from '../errors.js';
import { encodeEntry, type OutgoingEntry } from '../protocol/entry.js';
import { addToBatch, fitsBatch, startBatch, type EntryBatch } from '../protocol/entry-batch.js';
import type { CommandConnection } from '../redis/command-connection.js';
import { commandFailure, isScriptForbidden } from '../redis/redis-errors.js';
import type { EntryRange } from '../redis/replies.js';
import { addMany } from '../redis/scripts/add-many.js';
import type { StreamLengths } from './stream-lengths.js';

/** A message on its way to a stream. */
export interface OutgoingMessage {
  readonly stream: string;
  readonly entry: OutgoingEntry;
  /** `performance.now()` at which a request's time is up; the entry's `ttl` is what is left when it is written. */
  readonly deadline: number | undefined;
  /** Set by the outbox while the message waits in it. */
  waits: boolean;
  /** Set when its caller has given up: it is not written any more. */
  withdrawn: boolean;
  /** Set when it has been handed to the connection. */
  written: boolean;
  /**
   * Called before each attempt to write it; what it does may be repeated. A promise is waited for: a rejection with
   * an error of ours or of Redis is final, one for a lost connection is not.
   */
  prepare(now: number): Promise<void> | undefined;
  /** Redis has stored it: its entry is one of those in the range, which hold nothing else. */
  stored(range: EntryRange): void;
  /** It is not stored: it was not let through, or Redis answered with an error. */
  refused(error: Error): void;
  /** The connection was lost before Redis answered: it is stored once or not at all. */
  unanswered(error: unknown): void;
  /** It was handed to the connection, was not written after all, and will not be: its caller has given up. */
  unwritten(): void;
}

/** Written in one turn at most; more would hold up everything else in this process. */
const MAX_PER_TURN = 1_000;

/** So many withdrawn messages may be held at the least before they are let go. */
const MIN_COMPACTED = 64;

/** A script blocks Redis while it runs, and its arguments lie in memory twice. */
const MAX_PER_SCRIPT = 500;
const MAX_SCRIPT_BYTES = 1024 * 1024;

/**
 * Where messages wait until they are written: for the end of the turn, or, while the outbox is shut (Redis is away, or
 * the client's reply stream does not exist yet), until it opens. A message that was written is never written again,
 * unless ioredis says that it was not.
 */
export class Outbox {
  /** In their order, with those that were withdrawn since; see `waits`. */
  private waiting: OutgoingMessage[] = [];
  private count = 0;
  private opened = false;
  private closedBy: RedisStreamsError | undefined;
  private scheduled = false;
  private scriptsAllowed = true;

  constructor(
    private readonly commands: CommandConnection,
    private readonly lengths: StreamLengths,
    /** How many messages wait, here and in the outboxes of the client's other shards. */
    private readonly waitingInAll: () => number,
  ) {}

  /** How many messages wait. */
  get size(): number {
    return this.count;
  }

  open(): void {
    this.opened = true;
    this.closedBy = undefined;
    this.schedule();
  }

  shut(): void {
    this.opened = false;
  }

  /** Shuts it and refuses what waits, and what would come back to wait, with an error. */
  close(error: RedisStreamsError): void {
    this.opened = false;
    this.closedBy = error;
    this.putBack(this.takeOut(this.waiting.length));
  }

  /**
   * Takes a message in. Throws a `QueueFullError` when the outbox is shut and `maxQueued` messages wait already, in all
   * shards together.
   */
  add(message: OutgoingMessage, maxQueued: number): void {
    if (this.closedBy) {
      throw this.closedBy;
    }
    if (!this.opened && this.waitingInAll() >= maxQueued) {
      throw new QueueFullError(message.entry.pattern, maxQueued);
    }
    this.enqueue(message);
    this.schedule();
  }

  /** Takes a message back, if it has not been written. */
  withdraw(message: OutgoingMessage): void {
    message.withdrawn = true;
    if (message.waits) {
      message.waits = false;
      this.count--;
      if (this.count === 0) {
        this.waiting = [];
      } else if (this.waiting.length > MIN_COMPACTED && this.count * 2 < this.waiting.length) {
        this.waiting = this.waiting.filter((one) => one.waits);
      }
    }
  }

  private enqueue(message: OutgoingMessage): void {
    message.waits = true;
    this.waiting.push(message);
    this.count++;
  }

  /** The first `limit` of what waits, without what was withdrawn. */
  private takeOut(limit: number): OutgoingMessage[] {
    const taken: OutgoingMessage[] = [];
    const first = this.waiting;
    this.waiting = first.splice(limit);
    for (const message of first) {
      if (message.waits) {
        message.waits = false;
        this.count--;
        taken.push(message);
      }
    }
    return taken;
  }

  private schedule(): void {
    if (this.opened && !this.scheduled && this.count > 0) {
      this.scheduled = true;
      this.commands.atEndOfTurn(this.flush);
    }
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    if (!this.opened || !this.commands.isReady) {
      return;
    }
    const now = performance.now();
    for (const [stream, messages] of this.take(now)) {
      this.write(stream, messages, now);
    }
    this.schedule();
  };

  /** The oldest messages that may be written now, by stream, in their order. */
  private take(now: number): Map<string, OutgoingMessage[]> {
    const byStream = new Map<string, OutgoingMessage[]>();
    for (const message of this.takeOut(MAX_PER_TURN)) {
      const preparation = message.prepare(now);
      if (preparation) {
        this.awaitPreparation(message, preparation);
        continue;
      }
      const messages = byStream.get(message.stream);
      if (messages) {
        messages.push(message);
      } else {
        byStream.set(message.stream, [message]);
      }
    }
    return byStream;
  }

  private awaitPreparation(message: OutgoingMessage, preparation: Promise<void>): void {
    preparation.then(
      () => this.putBack([message]),
      (error: unknown) => {
        if (error instanceof RedisStreamsError || commandFailure(error) === 'refused') {
          message.refused(error as Error);
        } else {
          this.putBack([message]);
        }
      },
    );
  }

  private write(stream: string, messages: OutgoingMessage[], now: number): void {
    if (messages.length === 1 || !this.scriptsAllowed) {
      for (const message of messages) {
        this.writeOne(message, now);
      }
      return;
    }
    let first = messages[0]!;
    let some: OutgoingMessage[] = [];
    let batch: EntryBatch | undefined;
    let size = 0;
    for (const message of messages) {
      makeReady(message, now);
      size += message.entry.data.length;
      if (
        batch &&
        (size > MAX_SCRIPT_BYTES || some.length === MAX_PER_SCRIPT || !fitsBatch(first.entry, message.entry))
      ) {
        this.writeMany(stream, some, batch);
        batch = undefined;
      }
      if (!batch) {
        first = message;
        batch = startBatch(message.entry);
        some = [];
        size = message.entry.data.length;
      }
      some.push(message);
      addToBatch(batch, message.entry);
    }
    this.writeMany(stream, some, batch!);
  }

  private writeOne(message: OutgoingMessage, now: number): void {
    makeReady(message, now);
    this.commands.client.xadd(message.stream, '*', ...encodeEntry(message.entry)).then(
      (id) => message.stored({ first: id!, last: id! }),
      (error: unknown) => this.onFailure([message], error),
    );
  }

  private writeMany(
    stream: string,
    messages: OutgoingMessage[],
    { shared, ownFields, values }: EntryBatch,
  ): void {
    addMany(this.commands.client, stream, shared, ownFields, values).then(
      ({ length, range }) => {
        if (length !== undefined) {
          this.lengths.learn(stream, length);
        }
        for (const message of messages) {
          message.stored(range);
        }
      },
      (error: unknown) => {
        if (isScriptForbidden(error)) {
          // Nothing was stored, so each is tried as a command.
          this.scriptsAllowed = false;
          this.putBack(messages);
        } else {
          this.onFailure(messages, error);
        }
      },
    );
  }

  private onFailure(messages: OutgoingMessage[], error: unknown): void {
    const failure = commandFailure(error);
    if (failure === 'unsent') {
      this.putBack(messages);
      return;
    }
    for (const message of messages) {
      if (failure === 'refused') {
        message.refused(error as Error);
      } else {
        message.unanswered(error);
      }
    }
  }

  private putBack(messages: OutgoingMessage[]): void {
    for (const message of messages) {
      message.written = false;
      if (message.withdrawn) {
        message.unwritten();
      } else if (this.closedBy) {
        message.refused(this.closedBy);
      } else {
        this.enqueue(message);
      }
    }
    this.schedule();
  }
}

/** The time that is left is known only when the message is written. */
function makeReady(message: OutgoingMessage, now: number): void {
  message.written = true;
  if (message.deadline !== undefined) {
    message.entry.ttl = timeToLive(message.deadline - now);
  }
}

/**
 * The time that is left, in whole milliseconds, and up to a thousandth less: entries that are written together share one
 * text, and were sent within a few milliseconds of each other.
 */
function timeToLive(left: number): number {
  const step = Math.max(1, Math.floor(left / 1_000));
  return Math.max(1, Math.floor(left / step) * step);
}
