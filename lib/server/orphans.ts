import { ORPHANS } from '../redis/consumers.js';
import type { Shard } from '../redis/shard.js';
import { commandFailure, messageOf, whereGroupIs } from '../redis/redis-errors.js';
import { forgetOrphans } from '../redis/scripts/retire.js';
import type { Claims } from './claims.js';
import type { Dispatcher, Lanes } from './dispatcher.js';
import type { Lease } from './lease.js';
import type { LoneRunner } from './lone-runner.js';
import type { Reporter } from './reporter.js';
import type { RetryQueue } from './retry-queue.js';
import type { Streams } from './streams.js';

/** Orphans taken with one call. */
const TAKE_AT_ONCE = 100;

/** What taking orphans over needs. */
export interface OrphansDeps {
  shard: Shard;
  lease: Lease;
  claims: Claims;
  dispatcher: Dispatcher;
  lanes: Lanes;
  retries: RetryQueue;
  loneRunner: LoneRunner;
  reporter: Reporter;
  /** What this instance reads. */
  streams: Streams;
}

/** Takes over entries of instances that died or left: as many as there are free slots. */
export class Orphans {
  /** Streams of which some are known, or were when they were last looked at. */
  private readonly streams = new Set<string>();
  private readonly closing = new AbortController();
  private taking: Promise<void> | undefined;
  private isNoticed = false;
  private quietUntil = 0;

  constructor(private readonly deps: OrphansDeps) {}

  /** There may be some in a stream. */
  notice(stream: string): void {
    if (this.deps.streams.has(stream)) {
      this.streams.add(stream);
      this.quietUntil = 0;
      this.isNoticed = true;
      this.take();
    }
  }

  /** Takes what there is room for. Called whenever there may be room: it does nothing where no orphans are known. */
  take(): void {
    if (
      this.streams.size === 0 ||
      this.taking ||
      this.closing.signal.aborted ||
      !this.deps.lease.isHeld ||
      performance.now() < this.quietUntil
    ) {
      return;
    }
    this.isNoticed = false;
    this.taking = this.takeAll()
      .catch((error: unknown) => {
        if (commandFailure(error) === 'refused') {
          this.deps.reporter.warnings.report('Takeover', `Redis refused a takeover: ${messageOf(error)}`);
        }
        this.rest();
      })
      .finally(() => {
        this.taking = undefined;
        if (this.isNoticed) {
          this.take();
        }
      });
  }

  /** Takes no more; resolves when what was being taken is held. */
  async close(): Promise<void> {
    this.closing.abort();
    await this.taking;
  }

  private async takeAll(): Promise<void> {
    const { shard, claims, dispatcher, lanes, loneRunner } = this.deps;
    for (const stream of [...this.streams]) {
      const hasMore = await this.takeSome(stream);
      await this.takeWaiting(stream);
      if (!hasMore && !this.closing.signal.aborted) {
        await loneRunner.runSome(stream, { shard, claims, dispatcher });
        // What is announced from here on may not be seen, and must not be forgotten.
        this.streams.delete(stream);
        if (!(await this.isEmpty(stream))) {
          this.streams.add(stream);
        }
      }
    }
    // What is left is for others, or for later: whoever gets room need not ask again for every message.
    if (lanes.requests.free > 0 && lanes.events.free > 0) {
      this.rest();
    }
  }

  /** Not where there is news that came too late to be looked at. */
  private rest(): void {
    if (!this.isNoticed) {
      this.quietUntil = performance.now() + this.deps.lease.interval;
    }
  }

  /** @returns whether there may be more, for which there is no room now */
  private async takeSome(stream: string): Promise<boolean> {
    const { claims, dispatcher, reporter } = this.deps;
    const lane = dispatcher.laneOf(stream);
    while (!this.closing.signal.aborted) {
      const limit = Math.min(TAKE_AT_ONCE, lane.free);
      if (limit <= 0) {
        return true;
      }
      const taken = await claims.start({ stream, from: ORPHANS, which: limit }, () => ({
        isTakenOver: true,
      }));
      if (taken === 0) {
        return false;
      }
      reporter.warnings.report('Takeover', `${taken} messages of '${stream}' were taken over`);
    }
    return false;
  }

  /** They take no slot: as many as may wait here. */
  private async takeWaiting(stream: string): Promise<void> {
    let taken = TAKE_AT_ONCE;
    while (taken === TAKE_AT_ONCE && !this.closing.signal.aborted) {
      taken = await this.deps.retries.adopt(stream, TAKE_AT_ONCE);
    }
  }

  private async isEmpty(stream: string): Promise<boolean> {
    const { shard, reporter } = this.deps;
    const { service } = reporter.instance;
    const instances = shard.keys.instances(service);
    const isEmpty = await whereGroupIs(() =>
      forgetOrphans(shard.commands.client, { stream, instances }, service),
    );
    return isEmpty ?? true;
  }
}
