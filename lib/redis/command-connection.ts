import { EventEmitter } from 'node:events';
import type { Redis } from 'ioredis';
import { ConnectionClosedError } from '../errors.js';
import type { ConnectionMaker } from './connection-factory.js';
import type { Log } from './log.js';
import { openRedis } from './open-redis.js';
import { messageOf } from './redis-errors.js';
import { pause, settledWithin } from '../util/time.js';

/** What happens to a connection, for those who write to it. */
export interface ConnectionEvents {
  /** Usable, for the first time or again. What was written to the one before may or may not have arrived. */
  ready: [];
  /** Lost, for this reason; ioredis connects again on its own. */
  lost: [reason: string];
  /** Closed on purpose. */
  closed: [];
}

/** Who is told of all connections for commands. */
export interface ConnectionListener {
  ready(address: string): void;
  lost(address: string, reason: string): void;
}

/**
 * A connection that died without a word (half-open) is found by a PING, sent where something that was written this long
 * ago, or since, is unanswered, and replaced when that is not answered in time. ioredis' own `socketTimeout` is not
 * used: in version 5 its timer outlives the socket and kills the next one.
 */
const PING_AFTER_MS = 5_000;
const ANSWER_WITHIN_MS = 5_000;

/** After this time of trying to connect, it is said that Redis cannot be reached yet. */
const NOT_YET_AFTER_MS = 1_000;

interface Corkable {
  cork(): void;
  uncork(): void;
}

/**
 * The connection for everything that does not block. It is `closed`, then `opening`, then `ready` or `lost` by turns
 * (ioredis connects again for as long as it takes), and `closed` again after `close()`; it may be opened again.
 *
 * What is produced in one turn of the event loop leaves in one write: see `atEndOfTurn`.
 */
export class CommandConnection extends EventEmitter<ConnectionEvents> {
  private redis: Redis | undefined;
  private opening: Promise<void> | undefined;
  private usable = false;
  private lostAt: number | undefined;
  private lastError: unknown;
  private tasks: (() => void)[] = [];
  private riders: (() => void)[] = [];
  private followers: (() => void)[] = [];
  private isFlushDue = false;
  private riderTimer: NodeJS.Timeout | undefined;
  private pingTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly factory: ConnectionMaker,
    private readonly connectTimeout: number,
    private readonly log: Log,
    private readonly listener: ConnectionListener,
  ) {
    super();
    // One listener for each client of a module, which may have many.
    this.setMaxListeners(0);
  }

  /** Where it leads, for messages; never with credentials. */
  get address(): string {
    return this.factory.address;
  }

  /** Whether commands can be written now. */
  get isReady(): boolean {
    return this.usable;
  }

  /** The ioredis instance, for writing a command. Throws a `ConnectionClosedError` unless `connect()` has succeeded. */
  get client(): Redis {
    if (!this.redis) {
      throw new ConnectionClosedError('The connection to Redis is not open.');
    }
    this.pingTimer ??= setTimeout(this.ping, PING_AFTER_MS).unref();
    return this.redis;
  }

  /** Opens the connection; calls while it opens, or once it is open, share one attempt. A failed one is forgotten. */
  connect(): Promise<void> {
    if (!this.opening) {
      const opening = this.open().catch((error: unknown) => {
        if (this.opening === opening) {
          this.opening = undefined;
        }
        throw error;
      });
      this.opening = opening;
    }
    return this.opening;
  }

  /** Resolves once commands can be written, or when the time is up; to whether they can. */
  async whenReady(withinMs: number): Promise<boolean> {
    if (!this.usable) {
      const waited = new AbortController();
      const onReady = (): void => waited.abort();
      this.once('ready', onReady);
      await pause(withinMs, waited.signal);
      this.off('ready', onReady);
    }
    return this.usable;
  }

  /** Closes the connection at once. Unanswered commands are rejected. */
  close(): void {
    this.lostAt = undefined;
    this.lastError = undefined;
    this.opening = undefined;
    this.usable = false;
    clearTimeout(this.pingTimer);
    this.pingTimer = undefined;
    clearTimeout(this.riderTimer);
    this.riderTimer = undefined;
    const redis = this.redis;
    this.redis = undefined;
    if (redis) {
      redis.disconnect();
      this.emit('closed');
    }
    // What still waited to be written learns that it will not be.
    this.flush();
  }

  /**
   * Runs `task` when this turn of the event loop ends, together with all others, between cork() and uncork() on the
   * socket: many commands, one write (measured: 10 us a request cheaper than `pipeline()`). Tasks write commands and do not throw.
   */
  atEndOfTurn(task: () => void): void {
    this.tasks.push(task);
    this.flushSoon();
  }

  /** Resolves when what this turn has produced is written. */
  written(): Promise<void> {
    return new Promise((resolve) => {
      this.followers.push(resolve);
      this.flushSoon();
    });
  }

  /**
   * Runs `task` along with the next flush, whoever asks for that, and at the latest after `withinMs`: for what is in no
   * hurry and not worth a write, and the waking of two processes, of its own.
   */
  withNextFlush(task: () => void, withinMs: number): void {
    this.riders.push(task);
    // Left alone by a flush: there would be a new one for each.
    this.riderTimer ??= setTimeout(() => {
      this.riderTimer = undefined;
      this.flush();
    }, withinMs);
  }

  /** Writes a command at the end of this turn. Rejects where the connection is closed by then. */
  inTurn<T>(write: (client: Redis) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.atEndOfTurn(() => void this.attempt(write).then(resolve, reject));
    });
  }

  /** Writes a command with the next flush: see `withNextFlush`. Rejects where the connection is closed by then. */
  riding<T>(write: (client: Redis) => Promise<T>, withinMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      this.withNextFlush(() => void this.attempt(write).then(resolve, reject), withinMs);
    });
  }

  private async attempt<T>(write: (client: Redis) => Promise<T>): Promise<T> {
    return write(this.client);
  }

  private flushSoon(): void {
    if (!this.isFlushDue) {
      this.isFlushDue = true;
      setImmediate(() => {
        this.isFlushDue = false;
        this.flush();
      });
    }
  }

  private readonly flush = (): void => {
    const { tasks, riders, followers } = this;
    this.tasks = [];
    this.riders = [];
    this.followers = [];
    try {
      if (tasks.length > 0 || riders.length > 0) {
        this.write(tasks, riders);
      }
    } finally {
      for (const follower of followers) {
        follower();
      }
    }
  };

  private write(...all: (readonly (() => void)[])[]): void {
    // Half-public in ioredis, and missing on other clients: without it every command is a write of its own.
    const socket = (this.redis as { stream?: Partial<Corkable> } | undefined)?.stream;
    const corkable = typeof socket?.cork === 'function' && typeof socket.uncork === 'function';
    if (corkable) {
      socket.cork!();
    }
    try {
      for (const tasks of all) {
        for (const task of tasks) {
          task();
        }
      }
    } finally {
      if (corkable) {
        socket.uncork!();
      }
    }
  }

  private readonly ping = (): void => {
    this.pingTimer = undefined;
    const { redis } = this;
    if (redis && this.usable && mayWaitForAnswers(redis)) {
      void settledWithin(redis.ping(), ANSWER_WITHIN_MS).then((isAlive) => {
        if (!isAlive && this.redis === redis) {
          this.lastError = new Error(`no answer within ${ANSWER_WITHIN_MS} ms`);
          redis.disconnect(true);
        }
      });
    }
  };

  private async open(): Promise<void> {
    const redis = this.factory.create('commands');
    this.redis = redis;
    redis.on('error', (error: unknown) => (this.lastError = error));
    redis.on('ready', () => this.onReady(redis));
    redis.on('close', () => this.onClose(redis));
    const notYet = setTimeout(
      () =>
        this.log.warn(
          `Redis at ${this.address} is not reachable yet (${messageOf(this.lastError ?? 'no answer')}); trying for ${this.connectTimeout} ms`,
        ),
      NOT_YET_AFTER_MS,
    );
    try {
      await openRedis(redis, this.address, this.connectTimeout);
    } catch (error) {
      if (this.redis === redis) {
        this.redis = undefined;
      }
      throw error;
    } finally {
      clearTimeout(notYet);
    }
    if (this.redis !== redis) {
      throw new ConnectionClosedError('The connection to Redis was closed while it was being opened.');
    }
  }

  private onReady(redis: Redis): void {
    if (this.redis !== redis) {
      return;
    }
    this.usable = true;
    if (this.lostAt !== undefined) {
      this.log.log(`Connected to Redis again after ${Math.round(performance.now() - this.lostAt)} ms`);
      this.lostAt = undefined;
    }
    this.listener.ready(this.address);
    this.emit('ready');
  }

  private onClose(redis: Redis): void {
    if (this.redis !== redis || !this.usable) {
      return;
    }
    this.usable = false;
    this.lostAt = performance.now();
    const reason = this.lastError === undefined ? 'closed by the other side' : messageOf(this.lastError);
    this.lastError = undefined;
    this.log.warn(`Connection to Redis at ${this.address} lost (${reason}); reconnecting`);
    this.listener.lost(this.address, reason);
    this.emit('lost', reason);
  }
}

/** Whether a command is unanswered, as far as ioredis lets that be seen: its queue is half-public. */
function mayWaitForAnswers(redis: Redis): boolean {
  return (redis as { commandQueue?: { length?: number } }).commandQueue?.length !== 0;
}
