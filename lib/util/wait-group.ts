import { Gate } from './gate.js';

/** Counts what is under way. Whoever waits goes on when there is nothing left. */
export class WaitGroup {
  private count = 0;
  private readonly rest = new Gate(true);

  get isIdle(): boolean {
    return this.count === 0;
  }

  add(count = 1): void {
    this.count += count;
    if (this.count > 0) {
      this.rest.shut();
    }
  }

  done(count = 1): void {
    this.count -= count;
    if (this.count === 0) {
      this.rest.open();
    }
  }

  /** Resolves when nothing is under way; `undefined`, without a promise, where that is so now. */
  wait(): Promise<void> | undefined {
    return this.rest.wait();
  }
}
