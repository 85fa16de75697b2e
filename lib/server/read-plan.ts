import type { StreamBatch } from '../redis/replies.js';

/** Streams that gave all they were asked for are read by themselves for so long, before all others have their turn. */
const OTHERS_AFTER_MS = 10;

/** What one read is to ask for. */
export interface Read {
  streams: readonly string[];
  /** The most entries of each stream. */
  count: number;
  /** Whether it waits for entries where there are none. */
  blocks: boolean;
}

/**
 * Which of many streams are read next. Redis needs time for every stream that a read names (measured: 134 us for 200),
 * and takes COUNT entries of each, so that there is room for one of each only where there are many. So streams that
 * gave all they were asked for are read by themselves, without waiting, as long as they give anything and the others do
 * not wait for long.
 */
export class ReadPlan {
  private busy: readonly string[] = [];
  private isOfAll = true;
  private count = 0;
  private allReadAt = Number.NEGATIVE_INFINITY;
  private given: string[] = [];

  /**
   * @param streams those that may be read
   * @param free how many entries there is room for
   * @param now `performance.now()`
   */
  next(streams: readonly string[], free: number, now: number): Read {
    const busy = this.given.filter((stream) => streams.includes(stream));
    this.given = [];
    // A read of nearly all might as well be one of all, which waits.
    this.isOfAll =
      busy.length === 0 || busy.length * 2 > streams.length || now - this.allReadAt >= OTHERS_AFTER_MS;
    this.busy = this.isOfAll ? streams : busy;
    if (this.isOfAll) {
      this.allReadAt = now;
    }
    this.count = Math.max(1, Math.floor(free / this.busy.length));
    return { streams: this.busy, count: this.count, blocks: this.isOfAll };
  }

  /** Takes what the read has brought. */
  took(batches: readonly StreamBatch[]): void {
    for (const { stream, entries } of batches) {
      if (!this.isOfAll || entries.length >= this.count) {
        this.given.push(stream);
      }
    }
  }
}
