import type { Shard } from '../redis/shard.js';
import type { Log } from '../redis/log.js';
import { commandFailure, messageOf } from '../redis/redis-errors.js';
import { renewLease, REMEMBER_TAKEN_MS } from '../redis/scripts/renew-lease.js';
import { BurstLog } from '../util/burst-log.js';
import type { Instance } from './context.js';

/** A lease is renewed this often within its time, so that one renewal may fail. */
const RENEWALS = 3;

/** A renewal that Redis refused is tried again after this time, or at the next turn, whichever is first. */
const RETRY_MS = 1_000;

/** What everything that settles looks at before it writes. */
export interface RightToSettle {
  /** Whether this instance may read and settle. */
  readonly isHeld: boolean;
  /** Changes when others may have taken what was given to this instance before. */
  readonly epoch: number;
  /** Finds out whether it may; calls back by the lease's `onHeld` when it may again. */
  restore(): void;
}

/** Thrown where something is not begun because the lease is in doubt: it is tried again before long. */
export class LeaseInDoubt extends Error {
  constructor() {
    super('The lease is in doubt.');
  }
}

/** What a lease is made from. */
export interface LeaseOptions {
  shard: Shard;
  instance: Instance;
  /** Milliseconds. */
  ttl: number;
  log: Log;
  /**
   * Called when others have begun to take what this instance held: it finds out what is still its own, and rejects where
   * it cannot. Nothing is read or settled until then.
   * @param awayFor milliseconds since this instance had last been sure of its lease
   */
  verify(awayFor: number): Promise<void>;
  /** After each renewal that leaves no doubt: what waited for it may go on. */
  onHeld(): void;
}

/** A moment by both clocks: the monotonic one may stand still while a machine sleeps, the other may be set. */
interface Moment {
  monotonic: number;
  wall: number;
}

/**
 * An instance's proof that it lives. It is `idle`, then from `start()` on held while its last confirmed renewal was
 * *sent* less than its time ago, and in doubt otherwise: others may count the instance as dead then, so it reads and
 * settles nothing before a renewal has told it what has become of its entries. `stop()` ends the renewals.
 *
 * It is renewed on the connection that settles: what cannot settle must not go on reading.
 */
export class Lease implements RightToSettle {
  private readonly value: string;
  private readonly keys: { lease: string; instances: string };
  private readonly warnings: BurstLog;
  private confirmed: Moment | undefined;
  private steadySince = 0;
  private isVerified = false;
  private isStopped = false;
  private fences = 0;
  private renewing: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: LeaseOptions) {
    const { shard, instance, log } = options;
    this.value = String(Math.round(shard.clock.now()));
    this.keys = {
      lease: shard.keys.lease(instance.service, instance.id),
      instances: shard.keys.instances(instance.service),
    };
    this.warnings = new BurstLog((line) => log.warn(line));
  }

  get epoch(): number {
    return this.fences;
  }

  /** Milliseconds from one renewal to the next. */
  get interval(): number {
    return this.options.ttl / RENEWALS;
  }

  /** Whether this instance may read and settle. */
  get isHeld(): boolean {
    return this.isVerified && this.age() < this.options.ttl;
  }

  /**
   * Whether this instance may judge that others are dead: only after a full lease in which all its own renewals were
   * confirmed on time. A Redis that was away or stood still makes every lease run out.
   */
  get maySweep(): boolean {
    return this.isHeld && performance.now() - this.steadySince >= this.options.ttl;
  }

  /** Takes the lease; rejects where Redis refuses it. */
  async start(): Promise<void> {
    await this.renew();
    this.isVerified = true;
    this.scheduleNext(this.interval);
  }

  /** Ends the renewals; the lease runs out on its own, or is deleted by who hands over. */
  stop(): void {
    this.isStopped = true;
    this.isVerified = false;
    clearTimeout(this.timer);
    this.warnings.close();
  }

  /** The connection was lost: for a lease from now on nothing is known of others. */
  unsettle(): void {
    this.steadySince = performance.now();
  }

  /** Renews at once: whoever finds the lease in doubt calls this, and is called back by `onHeld`. */
  restore(): void {
    if (this.isStopped || !this.options.shard.commands.isReady) {
      return;
    }
    this.renewing ??= this.attempt().finally(() => (this.renewing = undefined));
  }

  private async attempt(): Promise<void> {
    clearTimeout(this.timer);
    try {
      await this.renew();
      if (this.isHeld) {
        this.options.onHeld();
      }
      this.scheduleNext(this.interval);
    } catch (error) {
      this.steadySince = performance.now();
      if (commandFailure(error) === 'refused') {
        this.warnings.report('lease', `The lease of this instance could not be renewed: ${messageOf(error)}`);
      }
      // A lost connection is reported by itself, and calls restore() when it is back.
      this.scheduleNext(Math.min(this.interval, RETRY_MS));
    }
  }

  private async renew(): Promise<void> {
    const { shard, instance, ttl } = this.options;
    const sent = now();
    const state = await renewLease(shard.commands.client, this.keys, this.value, ttl, instance.id);
    if (this.isStopped) {
      return;
    }
    const awayFor = this.age();
    this.noteRegularity(sent, state === 'kept');
    this.confirmed = sent;
    // Past the time for which it is remembered that others took what is ours, 'gone' says nothing.
    if (state === 'taken' || (state === 'gone' && awayFor > REMEMBER_TAKEN_MS / 2 && awayFor < Infinity)) {
      this.isVerified = false;
      this.fences++;
    }
    if (!this.isVerified && awayFor < Infinity) {
      await this.options.verify(awayFor);
      this.isVerified = true;
    }
  }

  private noteRegularity(sent: Moment, wasKept: boolean): void {
    const isOnTime =
      wasKept &&
      elapsedSince(sent) < this.interval &&
      this.confirmed !== undefined &&
      sent.monotonic - this.confirmed.monotonic < 2 * this.interval;
    if (!isOnTime) {
      this.steadySince = performance.now();
    }
  }

  private scheduleNext(ms: number): void {
    if (this.isStopped) {
      return;
    }
    const due = performance.now() + ms;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.warnOfBlocking(performance.now() - due);
      this.restore();
      if (!this.renewing) {
        this.scheduleNext(Math.min(this.interval, RETRY_MS));
      }
    }, ms);
  }

  /** Others take an instance's work over that is busy for longer than its lease, and it runs twice. */
  private warnOfBlocking(lateBy: number): void {
    if (lateBy > this.interval) {
      this.warnings.report(
        'event loop',
        `The event loop of this instance stood still for ${Math.round(lateBy)} ms (its lease is ${this.options.ttl} ms): ` +
          `something computes for that long without a pause, or the process was stopped. Past the lease its messages are taken over.`,
      );
    }
  }

  private age(): number {
    return this.confirmed ? elapsedSince(this.confirmed) : Number.POSITIVE_INFINITY;
  }
}

function now(): Moment {
  return { monotonic: performance.now(), wall: Date.now() };
}

function elapsedSince({ monotonic, wall }: Moment): number {
  return Math.max(performance.now() - monotonic, Date.now() - wall);
}
