import type { Shard } from '../redis/shard.js';
import { whereGroupIs } from '../redis/redis-errors.js';
import { parseEntries, type PendingEntry, type StreamEntry } from '../redis/replies.js';
import { moveEntries, type Move } from '../redis/scripts/move.js';
import type { Instance } from './context.js';
import type { DeliveryHistory } from './delivery.js';
import type { Dispatcher } from './dispatcher.js';
import { LeaseInDoubt, type RightToSettle } from './lease.js';

/** An entry that was moved to this instance, with its content; `undefined` where it has been deleted. */
export interface Claim {
  pending: PendingEntry;
  entry: StreamEntry | undefined;
}

/**
 * Takes entries that are pending already: orphans, retries that are due, and what a dead connection was given. One claim
 * after the other: while one is under way, entries are this instance's that it does not hold yet.
 */
export class Claims {
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly shard: Shard,
    private readonly instance: Instance,
    private readonly right: RightToSettle,
    private readonly dispatcher: Dispatcher,
  ) {}

  /**
   * Moves entries to this instance and starts them. Rejects with `LeaseInDoubt` where it may not.
   * @param history what is known of each besides its deliveries
   * @returns how many there were
   */
  start(
    move: Omit<Move, 'group' | 'to'>,
    history: (id: string) => DeliveryHistory = () => ({}),
  ): Promise<number> {
    return this.inTurn(() => this.startNow(move, history));
  }

  /** The same for whoever has its turn already. */
  async startNow(
    move: Omit<Move, 'group' | 'to'>,
    history: (id: string) => DeliveryHistory = () => ({}),
  ): Promise<number> {
    const claims = await this.claim({ ...move, to: this.instance.id });
    for (const { pending, entry } of claims) {
      if (entry) {
        const { id, deliveries } = pending;
        this.dispatcher.accept(move.stream, entry, { deliveries, ...history(id) });
      }
    }
    return claims.length;
  }

  /**
   * Moves entries, and reads what they hold. Where the lease came into doubt meanwhile, nobody knows whose they are:
   * what is still ours is found later, as strays are.
   */
  async claim(move: Omit<Move, 'group'>): Promise<Claim[]> {
    const { right } = this;
    if (!right.isHeld) {
      right.restore();
      throw new LeaseInDoubt();
    }
    const { epoch } = right;
    const { client } = this.shard.commands;
    const { service: group } = this.instance;
    const moved = (await whereGroupIs(() => moveEntries(client, { ...move, group }))) ?? [];
    const found = await Promise.all(
      moved.map(async ({ id }) => parseEntries(await client.xrangeBuffer(move.stream, id, id))[0]),
    );
    if (!right.isHeld || right.epoch !== epoch) {
      throw new LeaseInDoubt();
    }
    const deleted = moved.filter((_, i) => !found[i]).map(({ id }) => id);
    if (deleted.length > 0) {
      this.dispatcher.lost(move.stream, deleted);
    }
    return moved.map((pending, i) => ({ pending, entry: found[i] }));
  }

  /** Runs what claims entries, or must not meet a claim half done, after all such work before it. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.last.then(work);
    // Whoever asked for it is told of its failure.
    this.last = result.catch(() => undefined);
    return result;
  }
}
