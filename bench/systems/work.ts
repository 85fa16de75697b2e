import { sharedNow } from '../processes/child-side.js';

/** What the handlers do, the same in every system. */
export class Work {
  private handledEvents = 0;
  private sumOfEvents = 0;
  private counting: { count: number; done: () => void } | undefined;

  sum(a: number, b: number): number {
    return a + b;
  }

  /** An event with the number `n`. */
  note(n: number): void {
    this.sumOfEvents += n;
    this.handledEvents++;
    if (this.handledEvents === this.counting?.count) {
      this.counting.done();
    }
  }

  /**
   * Resolves when the events 0 to `count` - 1 have been handled, with the time of the last. Those that came before this
   * was called count, too: the order to publish takes another way than the one to wait. Rejects where others came.
   */
  async whenHandled(count: number): Promise<{ at: number }> {
    if (this.handledEvents < count) {
      await new Promise<void>((done) => (this.counting = { count, done }));
    }
    const at = sharedNow();
    const sum = (count * (count - 1)) / 2;
    if (this.handledEvents !== count || this.sumOfEvents !== sum) {
      throw new Error(
        `${this.handledEvents} events that add up to ${this.sumOfEvents}, not ${count} and ${sum}`,
      );
    }
    this.handledEvents = 0;
    this.sumOfEvents = 0;
    this.counting = undefined;
    return { at };
  }
}
