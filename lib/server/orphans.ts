import { ALONE, ORPHANS, ORPHANS_ALONE, SUSPECTS } from '../redis/consumers.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { commandFailure, isNoGroup, messageOf } from '../redis/redis-errors.js';
import { moveEntries } from '../redis/scripts/move.js';
import { forgetOrphans } from '../redis/scripts/retire.js';
import { announceOrphans } from './control-stream.js';
import type { Claims } from './claims.js';
import type { Delivery } from './delivery.js';
import type { Dispatcher } from './dispatcher.js';
import type { Holdings } from './holdings.js';
import type { Lease } from './lease.js';
import type { Reporter } from './reporter.js';
import type { RetryQueue } from './retry-queue.js';

/** Orphans taken with one call. */
const TAKE_AT_ONCE = 100;

/** After so many vain attempts to be alone the pauses between them grow no more. */
const MAX_PATIENCE = 4;

/** What taking orphans over needs. */
export interface OrphansDeps {
  namespace: NamespaceConnection;
  holdings: Holdings<Delivery>;
  lease: Lease;
  claims: Claims;
  dispatcher: Dispatcher;
  retries: RetryQueue;
  reporter: Reporter;
  /** The streams this instance reads. */
  streams: readonly string[];
  /** Milliseconds. */
  ttl: number;
  /** Stops starting and reading anything; resolves to whether all that was taken is settled within the time. */
  quiesce: (withinMs: number) => Promise<boolean>;
  /** Ends that. */
  resume: () => void;
}

/**
 * Takes over entries of instances that died or left: as many as there are free slots. Those that may have killed the
 * instances that had them run alone, after everything else that this instance has taken, one after the other.
 */
export class Orphans {
  /** Streams of which some are known, or were when they were last looked at. */
  private readonly streams = new Set<string>();
  private readonly closing = new AbortController();
  private taking: Promise<void> | undefined;
  private isNoticed = false;
  private quietUntil = 0;
  private aloneFrom = 0;
  private patience = 0;

  constructor(private readonly deps: OrphansDeps) {}

  /** There may be some in a stream. */
  notice(stream: string): void {
    if (this.deps.streams.includes(stream)) {
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
    for (const stream of [...this.streams]) {
      const hasMore = await this.takeSome(stream);
      await this.deps.retries.adopt(stream, TAKE_AT_ONCE);
      if (!hasMore && !this.closing.signal.aborted) {
        await this.takeAlone(stream);
        if (await this.isEmpty(stream)) {
          this.streams.delete(stream);
        }
      }
    }
    // What is left is for others, or for later: whoever gets room need not ask again for every message.
    if (this.deps.dispatcher.requestLane.free > 0 && this.deps.dispatcher.eventLane.free > 0) {
      this.rest();
    }
  }

  private rest(): void {
    this.quietUntil = performance.now() + this.deps.lease.interval;
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

  /** One after the other, for up to a lease; then what is read has its turn again. */
  private async takeAlone(stream: string): Promise<void> {
    if (performance.now() < this.aloneFrom) {
      return;
    }
    const until = performance.now() + this.deps.ttl;
    let isQuiet = false;
    try {
      let next = await this.nextAlone(stream);
      while (next) {
        const { dispatcher } = this.deps;
        if (!dispatcher.isExhausted(next.delivery)) {
          isQuiet ||= await this.deps.quiesce(this.deps.ttl);
          if (!isQuiet) {
            await this.giveBack(next.delivery, next.from);
            return;
          }
          this.patience = 0;
        }
        await dispatcher.run(next.delivery);
        next =
          performance.now() < until && !this.closing.signal.aborted
            ? await this.nextAlone(stream)
            : undefined;
      }
    } finally {
      this.deps.resume();
    }
  }

  private async nextAlone(stream: string): Promise<{ delivery: Delivery; from: string } | undefined> {
    const { claims, dispatcher, reporter } = this.deps;
    for (const from of [SUSPECTS, ORPHANS_ALONE]) {
      const [claim] = await claims.claim({ stream, from, to: reporter.instance.id + ALONE, which: 1 });
      const delivery =
        claim?.entry &&
        dispatcher.open(stream, claim.entry, {
          deliveries: claim.pending.deliveries,
          isTakenOver: true,
          isAlone: true,
          isSuspect: from === SUSPECTS,
        });
      if (delivery) {
        return { delivery, from };
      }
    }
    return undefined;
  }

  /** Others may be able to. Whoever could not tries again later, and later each time. */
  private async giveBack(delivery: Delivery, to: string): Promise<void> {
    const { namespace, holdings, reporter, ttl } = this.deps;
    const { stream, id } = delivery;
    this.patience = Math.min(MAX_PATIENCE, this.patience + 1);
    this.aloneFrom = performance.now() + ttl * 2 ** this.patience * (0.5 + Math.random());
    const { service, id: instance } = reporter.instance;
    await moveEntries(namespace.commands.client, {
      stream,
      group: service,
      from: instance + ALONE,
      to,
      which: [id],
    });
    holdings.release(delivery);
    await announceOrphans(namespace, service, stream);
  }

  private async isEmpty(stream: string): Promise<boolean> {
    const { namespace, reporter } = this.deps;
    const { service } = reporter.instance;
    const instances = namespace.keys.instances(service);
    try {
      return await forgetOrphans(namespace.commands.client, { stream, instances }, service);
    } catch (error) {
      if (isNoGroup(error)) {
        return true;
      }
      throw error;
    }
  }
}
