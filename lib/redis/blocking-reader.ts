import type { Redis } from 'ioredis';
import { Gate } from '../util/gate.js';
import { Backoff, pause, settledWithin } from '../util/time.js';
import type { CommandConnection } from './command-connection.js';
import type { ConnectionMaker, ConnectionRole } from './connection-factory.js';
import type { Log } from './log.js';
import { isDisplaced, isNoPermission, isReplyError, messageOf } from './redis-errors.js';
import { parseStreams, type StreamBatch } from './replies.js';

/**
 * How long a read blocks. Finite, so that a read whose connection died unnoticed ends, and long, since an idle
 * instance shall cost Redis next to nothing.
 */
export const BLOCK_MS = 5_000;

/** How much later than BLOCK an answer may come before its connection counts as dead. */
export const BLOCK_GRACE_MS = 2_000;

/** How often it is looked whether an answer is overdue. */
const WATCH_EVERY_MS = 1_000;

/** How many reads in a row must fail of a lost connection before it is worth a line: a few seconds. */
const REPORT_AFTER_FAILURES = 6;

/** CLIENT UNBLOCK can reach a connection just before it blocks, so it is repeated. */
const UNBLOCK_EVERY_MS = 50;

/** What a reader is made from. */
export interface BlockingReaderOptions {
  role: ConnectionRole;
  factory: ConnectionMaker;
  log: Log;
  /** Writes one XREAD or XREADGROUP, with BLOCK `BLOCK_MS` or none; `undefined`: nothing may be read now, ask again. */
  read(redis: Redis): Promise<unknown> | undefined;
  /** Resolves when there is room for what a read may bring; `undefined` where there is room now. */
  room?(): Promise<void> | undefined;
  /** Takes what came. Must not throw. */
  deliver(batches: StreamBatch[]): void;
  /** Resolves when what `deliver` has produced is written; the next read waits for that. */
  written?(): Promise<void>;
  /** After each connect, before the first read on it. */
  connected?(): void;
  /** After each read that ended, with or without entries. */
  cycled?(): void;
  /** Puts right what Redis complained of, such as a group that is gone. Resolves to whether there was something to. */
  repair?(error: Error): Promise<boolean>;
}

/**
 * Reads from streams in a loop, on a connection of its own, since a blocking command holds up whatever is behind it.
 *
 * It is `idle`, then `reading` from `start()` on, and after `stop()` `stopped`, for good. While it reads it goes from
 * waiting for room, to waiting for its connection, to a blocking read, and round again. No error ends the loop: it is
 * reported once for a burst, repaired where `repair` can, and the read is tried again after a growing pause.
 */
export class BlockingReader {
  private readonly redis: Redis;
  private readonly connected = new Gate();
  private readonly firstRead = new Gate();
  private readonly stopping = new AbortController();
  private readonly backoff = new Backoff();
  private loop: Promise<void> | undefined;
  private clientId: number | undefined;
  private failures = 0;
  private isReported = false;
  private isUnblocking = false;
  private readingSince: number | undefined;
  private reads = 0;
  /** Reads up to this one are to end. */
  private interrupted = 0;
  private lostAt = Number.NEGATIVE_INFINITY;
  private isClosed = false;
  private watchdog: NodeJS.Timeout | undefined;

  constructor(private readonly options: BlockingReaderOptions) {
    this.redis = options.factory.create(options.role);
    // Reported by the loop, when a read fails of it.
    this.redis.on('error', () => undefined);
    this.redis.on('ready', () => this.onReady());
    this.redis.on('close', () => {
      this.connected.shut();
      this.clientId = undefined;
      if (!this.isClosed) {
        this.lostAt = performance.now();
      }
    });
  }

  /** Milliseconds since the read that is under way was written; `undefined` where there is none. */
  get readingFor(): number | undefined {
    return this.readingSince === undefined ? undefined : performance.now() - this.readingSince;
  }

  /**
   * Whether Redis may still block a read on a connection that was lost, of which it does not know, and give to it what
   * comes next.
   */
  get mayBlockUnseen(): boolean {
    return performance.now() - this.lostAt < BLOCK_MS + BLOCK_GRACE_MS;
  }

  /** Starts the loop; resolves once the first read has been written, or the connection waits for room to write it. */
  async start(): Promise<void> {
    if (!this.loop) {
      // Rejects when the first attempt fails, while ioredis goes on trying: 'ready' decides.
      this.redis.connect().catch(() => undefined);
      this.watchdog = setInterval(() => this.watch(), WATCH_EVERY_MS).unref();
      this.loop = this.run();
    }
    await this.firstRead.wait();
  }

  /**
   * Ends the loop without losing what a read may just be bringing: a blocking read is ended by CLIENT UNBLOCK, or,
   * where that is not allowed, has run out after BLOCK. What came is delivered before this resolves.
   */
  async stop(commands: CommandConnection): Promise<void> {
    this.stopping.abort();
    this.connected.open();
    if (this.loop) {
      const latest = performance.now() + BLOCK_MS + BLOCK_GRACE_MS;
      let hasEnded: boolean;
      do {
        this.unblock(commands);
        hasEnded = await settledWithin(this.loop, UNBLOCK_EVERY_MS);
      } while (!hasEnded && performance.now() < latest);
      if (!hasEnded) {
        this.lostAt = performance.now();
      }
    }
    this.close();
  }

  /** Ends a read that waits, so that the next one is begun; where that is not allowed, it waits for BLOCK. */
  interrupt(commands: CommandConnection): void {
    const isInterrupting = this.isInterrupting;
    this.interrupted = this.reads;
    if (this.isInterrupting && !isInterrupting) {
      void this.interruptRead(commands);
    }
  }

  private get isInterrupting(): boolean {
    return this.readingSince !== undefined && this.reads <= this.interrupted;
  }

  private async interruptRead(commands: CommandConnection): Promise<void> {
    while (this.isInterrupting && !this.stopping.signal.aborted) {
      this.unblock(commands);
      await pause(UNBLOCK_EVERY_MS, this.stopping.signal);
    }
  }

  /** Ends the loop and the connection at once; a read under way is abandoned. */
  close(): void {
    this.isClosed = true;
    this.stopping.abort();
    this.connected.open();
    this.firstRead.open();
    clearInterval(this.watchdog);
    this.redis.disconnect();
  }

  private async run(): Promise<void> {
    const stop = this.stopping.signal;
    while (!stop.aborted) {
      await this.untilReady();
      if (stop.aborted) {
        break;
      }
      await this.readOnce();
    }
  }

  /** Until there is a connection, and room: that may be taken again before we come to use it. */
  private async untilReady(): Promise<void> {
    let waiting = this.connected.wait() ?? this.full();
    while (waiting && !this.stopping.signal.aborted) {
      await this.untilStopped(waiting);
      waiting = this.connected.wait() ?? this.full();
    }
  }

  private full(): Promise<void> | undefined {
    const full = this.options.room?.();
    if (full) {
      this.firstRead.open();
    }
    return full;
  }

  private async readOnce(): Promise<void> {
    try {
      const answer = this.options.read(this.redis);
      if (answer === undefined) {
        await pause(this.backoff.next(), this.stopping.signal);
        return;
      }
      this.firstRead.open();
      this.reads++;
      this.readingSince = performance.now();
      const batches = parseStreams(await answer);
      this.readingSince = undefined;
      this.recovered();
      if (batches.length > 0) {
        this.options.deliver(batches);
        // What came of it goes first: writing the next read takes longer than anything else in between.
        await this.options.written?.();
      }
      this.options.cycled?.();
    } catch (error) {
      this.readingSince = undefined;
      await this.onFailure(error);
    }
  }

  /** A connection that died without a word never answers: it is replaced, and the read fails and is tried again. */
  private watch(): void {
    if (
      this.readingSince !== undefined &&
      performance.now() - this.readingSince > BLOCK_MS + BLOCK_GRACE_MS
    ) {
      this.readingSince = undefined;
      this.redis.disconnect(true);
    }
  }

  private async onFailure(error: unknown): Promise<void> {
    if (this.stopping.signal.aborted) {
      return;
    }
    let problem = messageOf(error);
    if (isReplyError(error) && this.options.repair) {
      try {
        if (await this.options.repair(error)) {
          this.backoff.reset();
        }
      } catch (cause) {
        problem += `; it cannot be put right yet: ${messageOf(cause)}`;
      }
    }
    // A connection that was lost, or its node, is usually back at once, and when Redis is away the command connection says so.
    this.failures++;
    const isTransient = isDisplaced(error) || !isReplyError(error);
    if (!this.isReported && (!isTransient || this.failures >= REPORT_AFTER_FAILURES)) {
      this.isReported = true;
      this.options.log.warn(`Reading (${this.options.role}) failed: ${problem}; trying again`);
    }
    await pause(this.backoff.next(), this.stopping.signal);
  }

  private recovered(): void {
    this.backoff.reset();
    this.failures = 0;
    if (this.isReported) {
      this.isReported = false;
      this.options.log.log(`Reading (${this.options.role}) works again`);
    }
  }

  private onReady(): void {
    // Before the first read of this connection, so that whoever stops us knows what to unblock. Where it is not
    // allowed (ACL), stopping waits for BLOCK to run out.
    this.redis.client('ID').then(
      (id) => (this.clientId = id),
      () => (this.clientId = undefined),
    );
    this.options.connected?.();
    this.connected.open();
  }

  /** One at a time: a Redis that does not answer is not asked again. */
  private unblock(commands: CommandConnection): void {
    if (this.clientId === undefined || this.isUnblocking || !commands.isReady) {
      return;
    }
    this.isUnblocking = true;
    commands.client.client('UNBLOCK', this.clientId).then(
      () => (this.isUnblocking = false),
      (error: unknown) => {
        // Not allowed, and so not asked for again, or the connection was lost: BLOCK ends the read.
        this.isUnblocking = isNoPermission(error);
        this.options.log.warn(`CLIENT UNBLOCK failed (${messageOf(error)}); waiting for the read to end`);
      },
    );
  }

  private untilStopped(wait: Promise<void> | undefined): Promise<void> | undefined {
    const { signal } = this.stopping;
    if (!wait || signal.aborted) {
      return undefined;
    }
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done);
      void wait.then(done);
    });
  }
}
