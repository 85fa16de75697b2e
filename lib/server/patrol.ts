import { BLOCK_GRACE_MS, BLOCK_MS } from '../redis/blocking-reader.js';
import { commandFailure, messageOf } from '../redis/redis-errors.js';
import type { StreamBatch } from '../redis/replies.js';
import { Backoff, pause } from '../util/time.js';
import type { CallerWatch } from './caller-watch.js';
import type { Claims } from './claims.js';
import type { Inventory } from './inventory.js';
import type { RightToSettle } from './lease.js';
import type { Reporter } from './reporter.js';
import type { Streams } from './streams.js';

/** How often it is looked for strays after a connection for reading was replaced. */
const STRAYS_EVERY_MS = 1_000;

/** What only the answer to moving an entry can lose is looked for at every so manieth renewal, besides after each reconnect. */
const RARELY = 5;

/** What a patrol is made from. */
export interface PatrolDeps {
  inventory: Inventory;
  claims: Claims;
  callers: CallerWatch;
  right: RightToSettle;
  reporter: Reporter;
  streams: Streams;
  /** How long a stream's read has been under way, in ms; `undefined` where none is. */
  readingFor: (stream: string) => number | undefined;
}

/** Looks, now and then and whenever a connection was lost, for what went wrong without an error that would tell. */
export class Patrol {
  private readonly timers = new Map<string, NodeJS.Timeout>();
  private readonly closing = new AbortController();
  private turn = 0;

  constructor(private readonly deps: PatrolDeps) {}

  /** After each renewal of the lease: one look at one stream, all of them in rotation. */
  goOn(): void {
    const { inventory, callers } = this.deps;
    const streams = this.deps.streams.all;
    const stream = streams[this.turn % streams.length]!;
    this.inBackground('Looking for strays', this.startStrays(stream));
    if (this.turn % RARELY === 0) {
      const other = streams[Math.floor(this.turn / RARELY) % streams.length]!;
      this.inBackground('Looking for strays', inventory.takeInWaiting(other));
      this.inBackground('Looking for strays', inventory.giveBackAlone(other));
    }
    this.turn++;
    this.inBackground('Looking for callers', callers.look());
  }

  /**
   * After a connection for reading was made: what Redis gave to the one before, or gives to it as long as it does not
   * know that it is dead, turns up within BLOCK and a grace.
   */
  watch(connection: string, streams: () => readonly string[]): void {
    const until = performance.now() + BLOCK_MS + BLOCK_GRACE_MS;
    const timer = setInterval(() => {
      if (this.deps.right.isHeld) {
        for (const stream of streams()) {
          this.inBackground('Looking for strays', this.startStrays(stream));
        }
      }
      if (performance.now() > until) {
        clearInterval(timer);
        this.timers.delete(connection);
      }
    }, STRAYS_EVERY_MS);
    clearInterval(this.timers.get(connection));
    this.timers.set(connection, timer);
  }

  /** Starts those entries that are this instance's still; tried until Redis has said whose they are. */
  async recheck(batches: readonly StreamBatch[]): Promise<void> {
    const { claims, reporter } = this.deps;
    const { signal } = this.closing;
    for (const { stream, entries } of batches) {
      const backoff = new Backoff();
      const which = entries.map(({ id }) => id);
      let isDone = false;
      while (!isDone && !signal.aborted) {
        try {
          await claims.start({ stream, from: reporter.instance.id, which });
          isDone = true;
        } catch (error) {
          this.report('Looking for whose entries are', error);
          await pause(backoff.next(), signal);
        }
      }
    }
  }

  /** After the connection for commands was lost: the answers to moving entries may have been lost with it. */
  lookAgain(): void {
    const { streams, inventory } = this.deps;
    for (const stream of streams.all) {
      this.inBackground('Looking for strays', this.startStrays(stream));
      this.inBackground('Looking for strays', inventory.takeInWaiting(stream));
      this.inBackground('Looking for strays', inventory.giveBackAlone(stream));
    }
  }

  close(): void {
    this.closing.abort();
    this.timers.forEach((timer) => clearInterval(timer));
    this.timers.clear();
  }

  private startStrays(stream: string): Promise<void> {
    const { inventory, readingFor } = this.deps;
    return inventory.startStrays(stream, () => readingFor(stream));
  }

  /** It is done again before long; that Redis is away is reported by itself. */
  private inBackground(what: string, work: Promise<unknown>): void {
    work.catch((error: unknown) => this.report(what, error));
  }

  private report(what: string, error: unknown): void {
    if (commandFailure(error) === 'refused') {
      this.deps.reporter.warnings.report(what, `${what} failed: ${messageOf(error)}`);
    }
  }
}
