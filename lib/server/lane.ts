import type { Delivery } from './delivery.js';
import { Slots } from './slots.js';

/** Handles a message, and calls `release()` of the lane once, however that ends. */
export type Start = (delivery: Delivery, lane: Lane) => void;

/**
 * Where messages of one kind are handled: requests, or events. So many at once as there are slots; what comes beyond
 * them waits in memory, in its order: COUNT is for each stream of a read, and orphans come besides.
 */
export class Lane {
  private readonly slots: Slots;
  private waiting: { delivery: Delivery; start: Start }[] = [];
  private isPaused = false;

  constructor(
    limit: number,
    /** There is room, and nothing of this lane's own waits for it. */
    private readonly onRoom: () => void,
  ) {
    this.slots = new Slots(limit);
  }

  /** How many more could be handled at once. */
  get free(): number {
    return this.isPaused || this.waiting.length > 0 ? 0 : this.slots.free;
  }

  push(delivery: Delivery, start: Start): void {
    if (this.free > 0) {
      this.slots.take();
      start(delivery, this);
    } else {
      this.waiting.push({ delivery, start });
    }
  }

  /** Gives a slot back. */
  release(): void {
    this.slots.release();
    this.startWaiting();
    if (this.free > 0) {
      this.onRoom();
    }
  }

  /** Starts nothing any more: what comes waits. */
  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
    this.startWaiting();
  }

  /** Drops what waits and is no longer this instance's. */
  dropLost(): void {
    this.waiting = this.waiting.filter(({ delivery }) => !delivery.isLost);
  }

  /** Drops all that waits: it stays pending. */
  clear(): void {
    this.waiting = [];
  }

  /** Resolves when a slot is free; `undefined` where one is. */
  whenFree(): Promise<void> | undefined {
    return this.slots.whenFree();
  }

  /** Resolves when nothing is handled. */
  whenIdle(): Promise<void> {
    return this.slots.whenIdle();
  }

  get isIdle(): boolean {
    return this.slots.isIdle;
  }

  private startWaiting(): void {
    while (!this.isPaused && this.waiting.length > 0 && this.slots.free > 0) {
      const { delivery, start } = this.waiting.shift()!;
      if (!delivery.isLost) {
        this.slots.take();
        start(delivery, this);
      }
    }
  }
}
