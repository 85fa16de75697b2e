import type { Died } from './messages.js';

/** A request that was done, as an instance of `orders` or an answer tells it. */
interface Done {
  id: string;
  deliveries: number;
}

/**
 * What became of the requests that an instance had under way when it was killed. They are those that were delivered a
 * second time: a request is delivered again only when its instance has died.
 */
export class Takeover {
  private readonly killedAt = performance.now();
  private readonly again = new Set<string>();
  private diedAt: number | undefined;
  private lastAt = this.killedAt;
  private left = 0;

  /** @param victim its name, for people */
  constructor(readonly victim: string) {}

  /** Another instance says that it is dead. */
  onDied({ entries }: Died): void {
    this.diedAt ??= performance.now();
    this.left += entries;
  }

  /** Called for every request that was done, or answered. */
  onDone({ id, deliveries }: Done): void {
    if (deliveries > 1) {
      this.again.add(id);
      this.lastAt = performance.now();
    }
  }

  /** How many requests it had under way, as the other instance has found them. */
  get entries(): number {
    return this.left;
  }

  /** How many of them the other instance has done. */
  get done(): number {
    return this.again.size;
  }

  /** From the kill until the other instance said so; `undefined` where it has not. */
  get noticedAfterMs(): number | undefined {
    return this.diedAt === undefined ? undefined : this.diedAt - this.killedAt;
  }

  /** From the kill until the last of them was done and answered by the other instance. */
  get doneAfterMs(): number {
    return this.lastAt - this.killedAt;
  }

  /** Whether the other instance has noticed, and done all of them. */
  get isComplete(): boolean {
    return this.diedAt !== undefined && this.again.size >= this.left;
  }
}
