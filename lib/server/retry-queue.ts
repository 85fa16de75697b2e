import { DUE_AT_IDLE_MS, ORPHANS_WAITING, WAITING } from '../redis/consumers.js';
import type { Shard } from '../redis/shard.js';
import { commandFailure, messageOf, whereGroupIs } from '../redis/redis-errors.js';
import type { PendingEntry } from '../redis/replies.js';
import { moveEntries, type Move } from '../redis/scripts/move.js';
import { Gate } from '../util/gate.js';
import { Backoff, pause } from '../util/time.js';
import { consumerOf, type Delivery, type DeliveryHistory, type EventRetry } from './delivery.js';
import type { Holdings } from './holdings.js';
import { LeaseInDoubt, type RightToSettle } from './lease.js';
import type { Reporter } from './reporter.js';

/** Entries that are started with one call. */
const START_AT_ONCE = 100;

/** What a retry queue is made from. */
export interface RetryQueueDeps {
  shard: Shard;
  holdings: Holdings<Delivery>;
  right: RightToSettle;
  reporter: Reporter;
  /** How many may wait before this instance reads no more events. */
  limit: number;
  /** How many events could be started now. */
  room: () => number;
  /** Moves entries to this instance and starts them. */
  start: (move: Omit<Move, 'group' | 'to'>, history: (id: string) => DeliveryHistory) => Promise<unknown>;
}

interface WaitingEvent {
  stream: string;
  id: string;
  /** Unknown of an event that failed elsewhere: all handlers run again. */
  retry: EventRetry | undefined;
  /** It failed at an instance that died or left. */
  isTakenOver: boolean;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Failed events that wait for their next delivery. They hold no slot, and belong to a consumer of their own: should
 * this instance die, others take them over with what is left of their backoff.
 */
export class RetryQueue {
  private readonly waiting = new Map<string, WaitingEvent>();
  private readonly due = new Map<string, WaitingEvent>();
  private readonly room = new Gate(true);
  private readonly closing = new AbortController();
  private isStarting = false;
  private isOnHold = false;

  constructor(private readonly deps: RetryQueueDeps) {}

  /** How many more may wait. */
  get free(): number {
    return Math.max(0, this.deps.limit - this.waiting.size - this.due.size);
  }

  /** Resolves when more may wait; `undefined` where they may. */
  whenFree(): Promise<void> | undefined {
    return this.room.wait();
  }

  /**
   * Has a failed event wait. Tried until Redis has done it: until then it is held as before.
   * @returns whether it waits; false where it is not this instance's any more
   */
  async add(delivery: Delivery, delay: number, retry: EventRetry): Promise<boolean> {
    const { stream, id } = delivery;
    const instance = this.deps.reporter.instance.id;
    const moved = await this.untilMoved(delivery, {
      stream,
      from: consumerOf(delivery, instance),
      to: instance + WAITING,
      which: [id],
      idle: DUE_AT_IDLE_MS - delay,
    });
    if (moved === undefined) {
      return false;
    }
    this.deps.holdings.release(delivery);
    if (moved) {
      this.wait({ stream, id, retry, isTakenOver: false, timer: undefined }, delay);
    }
    return moved;
  }

  /** Takes in what waits in this instance's name and is not known here, since the answer to moving it was lost. */
  takeIn(stream: string, entries: readonly PendingEntry[], isTakenOver = false): void {
    for (const { id, idle } of entries) {
      const key = keyOf({ stream, id });
      if (!this.waiting.has(key) && !this.due.has(key)) {
        const delay = Math.max(0, DUE_AT_IDLE_MS - idle);
        this.wait({ stream, id, retry: undefined, isTakenOver, timer: undefined }, delay);
      }
    }
  }

  /** Takes over some of the waiting events of instances that died or left. @returns how many there were */
  async adopt(stream: string, limit: number): Promise<number> {
    const entries = await this.move({
      stream,
      from: ORPHANS_WAITING,
      to: this.deps.reporter.instance.id + WAITING,
      which: Math.min(limit, this.free),
      idle: 'keep',
    });
    // Which of the handlers had failed is not known here: all run again.
    this.takeIn(stream, entries, true);
    return entries.length;
  }

  /** Starts what is due, as far as there is room: called whenever there may be some. */
  startDue(): void {
    if (this.due.size > 0 && !this.isStarting && !this.isOnHold) {
      this.isStarting = true;
      void this.start();
    }
  }

  /** Starts nothing any more; what fails may still be added. */
  hold(): void {
    this.isOnHold = true;
  }

  /** Ends the waiting here; the entries wait on in Redis. */
  close(): void {
    this.isOnHold = true;
    this.closing.abort();
    for (const { timer } of this.waiting.values()) {
      clearTimeout(timer);
    }
    this.waiting.clear();
    this.due.clear();
    this.room.open();
  }

  private wait(event: WaitingEvent, delay: number): void {
    if (this.closing.signal.aborted) {
      return;
    }
    const key = keyOf(event);
    clearTimeout(this.waiting.get(key)?.timer);
    this.waiting.set(key, event);
    event.timer = setTimeout(() => {
      this.waiting.delete(key);
      this.due.set(key, event);
      this.startDue();
    }, delay);
    if (this.free === 0) {
      this.room.shut();
    }
  }

  private async start(): Promise<void> {
    const backoff = new Backoff();
    const { signal } = this.closing;
    try {
      while (this.due.size > 0 && this.deps.room() > 0 && !this.isOnHold) {
        try {
          await this.startSome(this.nextDue(Math.min(START_AT_ONCE, this.deps.room())));
          backoff.reset();
        } catch (error) {
          this.report(error, 'deliver failed events again');
          await pause(backoff.next(), signal);
        }
      }
    } finally {
      this.isStarting = false;
    }
  }

  /** The first that are due, all of one stream. */
  private nextDue(limit: number): WaitingEvent[] {
    const events: WaitingEvent[] = [];
    for (const event of this.due.values()) {
      if (events.length < limit && event.stream === (events[0] ?? event).stream) {
        events.push(event);
      }
    }
    return events;
  }

  private async startSome(events: readonly WaitingEvent[]): Promise<void> {
    const { stream } = events[0]!;
    const instance = this.deps.reporter.instance.id;
    const histories = new Map(events.map(({ id, retry, isTakenOver }) => [id, { retry, isTakenOver }]));
    await this.deps.start(
      { stream, from: instance + WAITING, which: [...histories.keys()], raise: 1 },
      (id) => histories.get(id)!,
    );
    for (const event of events) {
      this.due.delete(keyOf(event));
    }
    if (this.free > 0) {
      this.room.open();
    }
  }

  /** @returns whether it was this instance's; `undefined` where it was given up before Redis had said so */
  private async untilMoved(delivery: Delivery, move: Omit<Move, 'group'>): Promise<boolean | undefined> {
    const backoff = new Backoff();
    const { signal } = this.closing;
    let isUnsure = false;
    while (!delivery.isLost && !signal.aborted) {
      try {
        const moved = await this.move(move);
        // It may have been moved by an attempt whose answer was lost.
        return moved.length > 0 || (isUnsure && (await this.move({ ...move, from: move.to })).length > 0);
      } catch (error) {
        isUnsure ||= commandFailure(error) === 'unknown';
        this.report(error, 'have failed events wait');
        await pause(backoff.next(), signal);
      }
    }
    return undefined;
  }

  /** Where the group is gone, nothing is anybody's. */
  private async move(move: Omit<Move, 'group'>): Promise<PendingEntry[]> {
    const { shard, reporter, right } = this.deps;
    if (!right.isHeld) {
      right.restore();
      throw new LeaseInDoubt();
    }
    const { service: group } = reporter.instance;
    return (await whereGroupIs(() => moveEntries(shard.commands.client, { ...move, group }))) ?? [];
  }

  private report(error: unknown, what: string): void {
    if (commandFailure(error) === 'refused') {
      this.deps.reporter.warnings.report(
        'Retries',
        `Redis refused to ${what}: ${messageOf(error)}; trying again`,
      );
    }
  }
}

function keyOf({ stream, id }: Pick<WaitingEvent, 'stream' | 'id'>): string {
  return `${id} ${stream}`;
}
