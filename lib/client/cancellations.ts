import type { Shard } from '../redis/shard.js';
import { commandFailure, isScriptForbidden, messageOf } from '../redis/redis-errors.js';
import type { EntryRange } from '../redis/replies.js';
import { cancel, type CancelledRequest } from '../redis/scripts/cancel.js';
import type { BurstLog } from '../util/burst-log.js';
import { Gate } from '../util/gate.js';

/** A script blocks Redis while it runs. */
const MAX_PER_CALL = 200;

/** How many are kept for a Redis that is away. Past it, requests end at their deadlines only. */
const MAX_WAITING = 10_000;

/** How long a cancellation is kept past its request's deadline: instances know Redis' clock only roughly. */
const KEEP_FOR_MS = 60_000;

/** A request that was written, and that nobody waits for any more though it has not ended. */
export interface LeftRequest {
  readonly id: string;
  readonly service: string;
  /** `performance.now()` at which its time is up. */
  readonly deadline: number;
  /** Whether its entry may be in Redis. */
  readonly written: boolean;
  /** Whether it is settled what became of its entry. */
  readonly isOutcomeKnown: boolean;
  /** Where its entry lies; `undefined`: nobody knows, the connection was lost before Redis could say so. */
  readonly range: EntryRange | undefined;
}

type Cancellation = Pick<LeftRequest, 'id' | 'service' | 'deadline' | 'range'>;

/**
 * Tells the other side of requests that nobody waits for any more, those of a turn together. A request that was left is
 * `in doubt` until Redis has answered its XADD, then `waiting` for the end of the turn, or for Redis to come back.
 *
 * All of it is best effort: what cannot be cancelled ends at its deadline, and only a refusal by Redis is worth a line.
 */
export class Cancellations {
  private readonly inDoubt = new Set<LeftRequest>();
  private waiting: Cancellation[] = [];
  private callsUnderWay = 0;
  private isScheduled = false;
  private isForbidden = false;
  private readonly idle = new Gate();

  constructor(
    private readonly shard: Shard,
    private readonly warnings: BurstLog,
  ) {}

  /** Takes a request when it is left, and once more when it is known what became of its entry. */
  add(request: LeftRequest): void {
    if (this.isForbidden) {
      return;
    }
    if (request.written && !request.isOutcomeKnown) {
      this.inDoubt.add(request);
      return;
    }
    this.inDoubt.delete(request);
    if (request.written) {
      const { id, service, deadline, range } = request;
      this.keep([{ id, service, deadline, range }]);
      this.schedule();
    }
    this.tellIdle();
  }

  /** Resolves when nothing is left to do, or Redis is away; `undefined` where that is so now. */
  whenIdle(): Promise<void> | undefined {
    if (this.isIdle) {
      return undefined;
    }
    this.idle.shut();
    return this.idle.wait();
  }

  /** Redis is back. */
  resume(): void {
    this.schedule();
  }

  /** Redis is away. */
  interrupt(): void {
    this.tellIdle();
  }

  /** Sends what waits, if that is still possible, and forgets the rest. */
  close(): void {
    this.flush();
    this.waiting = [];
    this.inDoubt.clear();
    this.tellIdle();
  }

  private get isIdle(): boolean {
    return (
      !this.shard.commands.isReady ||
      (this.inDoubt.size === 0 && this.waiting.length === 0 && this.callsUnderWay === 0)
    );
  }

  private tellIdle(): void {
    if (this.isIdle) {
      this.idle.open();
    }
  }

  private keep(cancellations: readonly Cancellation[]): void {
    for (const cancellation of cancellations) {
      if (this.waiting.length >= MAX_WAITING && !this.shard.commands.isReady) {
        return;
      }
      this.waiting.push(cancellation);
    }
  }

  private schedule(): void {
    if (!this.isScheduled && this.waiting.length > 0 && this.shard.commands.isReady) {
      this.isScheduled = true;
      this.shard.commands.atEndOfTurn(this.flush);
    }
  }

  private readonly flush = (): void => {
    this.isScheduled = false;
    if (!this.shard.commands.isReady) {
      return;
    }
    const now = performance.now();
    const byService = new Map<string, Cancellation[]>();
    for (const cancellation of this.waiting) {
      // Of one that is over and that nobody can find there is nothing to delete, and nobody to tell.
      if (cancellation.range || !isOver(cancellation, now)) {
        addTo(byService, cancellation.service, cancellation);
      }
    }
    this.waiting = [];
    for (const [service, some] of byService) {
      for (let at = 0; at < some.length; at += MAX_PER_CALL) {
        this.send(service, some.slice(at, at + MAX_PER_CALL), now);
      }
    }
    this.tellIdle();
  };

  private send(service: string, cancellations: Cancellation[], now: number): void {
    const { keys, clock, commands } = this.shard;
    const redisNow = clock.now();
    const byRange = new Map<EntryRange | undefined, CancelledRequest[]>();
    for (const cancellation of cancellations) {
      const { id, deadline, range } = cancellation;
      const atRedis = isOver(cancellation, now) ? 0 : Math.ceil(redisNow + deadline - now);
      addTo(byRange, range, { id, deadline: atRedis });
    }
    this.callsUnderWay++;
    cancel(
      commands.client,
      { inbox: keys.inbox(service), cancelled: keys.cancelled, control: keys.control(service) },
      service,
      Math.floor(redisNow - KEEP_FOR_MS),
      byRange,
    )
      .catch((error: unknown) => this.onFailure(cancellations, error))
      .finally(() => {
        this.callsUnderWay--;
        this.tellIdle();
      });
  }

  private onFailure(cancellations: Cancellation[], error: unknown): void {
    if (commandFailure(error) !== 'refused') {
      // Cancelling twice does no harm, so it waits for Redis to come back.
      this.keep(cancellations);
      return;
    }
    this.warnings.report(
      'Requests not cancelled',
      `Requests could not be cancelled (${cancellations.length}) and end at their deadlines: ${messageOf(error)}`,
    );
    if (isScriptForbidden(error)) {
      this.isForbidden = true;
      this.waiting = [];
      this.inDoubt.clear();
    }
  }
}

/** Its time is up, so that its handler ends by itself. A timer may fire a fraction of a millisecond early. */
function isOver({ deadline }: Cancellation, now: number): boolean {
  return deadline - now < 1;
}

function addTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) {
    list.push(value);
  } else {
    lists.set(key, [value]);
  }
}
