import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { isNoGroup } from '../redis/redis-errors.js';
import { parseEntries, type PendingEntry, type StreamEntry } from '../redis/replies.js';
import { moveEntries, type Move } from '../redis/scripts/move.js';
import type { Instance } from './context.js';
import type { DeliveryHistory } from './delivery.js';
import type { Dispatcher } from './dispatcher.js';

/** An entry that was moved to this instance, with its content; `undefined` where it has been deleted. */
export interface Claim {
  pending: PendingEntry;
  entry: StreamEntry | undefined;
}

/** Takes entries that are pending already: orphans, retries that are due, and what a dead connection was given. */
export class Claims {
  private underWay = 0;
  private count = 0;

  constructor(
    private readonly namespace: NamespaceConnection,
    private readonly instance: Instance,
    private readonly dispatcher: Dispatcher,
  ) {}

  /**
   * A number that changes with every claim, and `undefined` while one is under way: entries are this instance's then that
   * it does not hold yet.
   */
  get stamp(): number | undefined {
    return this.underWay > 0 ? undefined : this.count;
  }

  /**
   * Moves entries to this instance and starts them.
   * @param history what is known of each besides its deliveries
   * @returns how many there were
   */
  async start(
    move: Omit<Move, 'group' | 'to'>,
    history: (id: string) => DeliveryHistory = () => ({}),
  ): Promise<number> {
    return this.during(async () => {
      const claims = await this.claim({ ...move, to: this.instance.id });
      for (const { pending, entry } of claims) {
        if (entry) {
          const { id, deliveries } = pending;
          this.dispatcher.accept(move.stream, entry, { deliveries, ...history(id) });
        }
      }
      return claims.length;
    });
  }

  /** Moves entries, and reads what they hold. Where the group is gone, nothing is anybody's. */
  async claim(move: Omit<Move, 'group'>): Promise<Claim[]> {
    const { client } = this.namespace.commands;
    let moved: PendingEntry[];
    try {
      moved = await moveEntries(client, { ...move, group: this.instance.service });
    } catch (error) {
      if (isNoGroup(error)) {
        return [];
      }
      throw error;
    }
    const found = await Promise.all(
      moved.map(async ({ id }) => parseEntries(await client.xrangeBuffer(move.stream, id, id))[0]),
    );
    const deleted = moved.filter((_, i) => !found[i]).map(({ id }) => id);
    if (deleted.length > 0) {
      this.dispatcher.lost(move.stream, deleted);
    }
    return moved.map((pending, i) => ({ pending, entry: found[i] }));
  }

  /** Runs what claims entries. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.underWay++;
    try {
      return await work();
    } finally {
      this.underWay--;
      this.count++;
    }
  }
}
