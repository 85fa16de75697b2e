import type { Shard } from '../../redis/shard.js';
import { BROADCAST_KEPT_MS, trimTopic } from '../../redis/scripts/trim-topic.js';
import { Backoff } from '../../util/time.js';
import type { Subscribers } from './subscribers.js';
import type { Subscriptions } from './subscriptions.js';

/** How long after an acknowledgement its topic is trimmed; those that follow meanwhile are trimmed with it. */
const TRIM_AFTER_MS = 1_000;

/** The longest pause between attempts that fail. */
const RETRY_AFTER_AT_MOST_MS = 60_000;

/** How long after a look something of what was kept for broadcasts may be removed; what is young then waits for the next. */
const YOUNG_FOR_MS = BROADCAST_KEPT_MS + TRIM_AFTER_MS;

/** How often in a row the subscriptions are looked at again because they have changed. */
const MAX_LOOKS = 3;

/** What a trimmer is made from. */
export interface TopicTrimmerOptions {
  shard: Shard;
  service: string;
  subscriptions: Subscriptions;
  subscribers: Subscribers;
  /** Trimming failed; it is tried again. */
  onFailure: (error: unknown) => void;
}

/**
 * Removes what all subscribed services have settled. A topic is looked at a second after something of it was
 * acknowledged here. So the last service that acknowledges is the one that empties it, and a topic on which nothing
 * happens costs nothing. What is kept for broadcasts is looked at once more when it is not young any more.
 */
export class TopicTrimmer {
  private readonly backoff = new Backoff(TRIM_AFTER_MS, RETRY_AFTER_AT_MOST_MS);
  private touched = new Set<string>();
  private young = new Set<string>();
  private youngTimer: NodeJS.Timeout | undefined;
  private timer: NodeJS.Timeout | undefined;
  private trimming: Promise<void> | undefined;
  private isClosed = false;

  constructor(private readonly options: TopicTrimmerOptions) {}

  /** Something of this pattern's topic was acknowledged, and Redis has confirmed it. */
  touch(pattern: string): void {
    this.touched.add(pattern);
    this.schedule(TRIM_AFTER_MS);
  }

  /** Something of this pattern's topic will have been kept for long enough: of a broadcast, which nobody acknowledges. */
  touchLater(pattern: string): void {
    if (!this.isClosed) {
      this.young.add(pattern);
      this.youngTimer ??= setTimeout(() => {
        const { young } = this;
        this.youngTimer = undefined;
        this.young = new Set();
        young.forEach((one) => this.touch(one));
      }, YOUNG_FOR_MS).unref();
    }
  }

  /** Goes on with what waited for the connection. */
  resume(): void {
    this.backoff.reset();
    clearTimeout(this.timer);
    this.timer = undefined;
    this.schedule(TRIM_AFTER_MS);
  }

  /** Trims what waits for it, now. Never rejects. */
  async trimNow(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.trimming;
    if (this.touched.size > 0) {
      await this.trimTouched();
    }
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.touched.clear();
    clearTimeout(this.youngTimer);
    this.young.clear();
  }

  private schedule(delay: number): void {
    const { isReady } = this.options.shard.commands;
    if (isReady && !this.isClosed && !this.trimming && this.touched.size > 0) {
      this.timer ??= setTimeout(() => {
        this.timer = undefined;
        void this.trimTouched();
      }, delay);
    }
  }

  /** One run at a time: a Redis that is slow is not given more to do. */
  private trimTouched(): Promise<void> {
    this.trimming = this.runThrough().then((delay) => {
      this.trimming = undefined;
      this.schedule(delay);
    });
    return this.trimming;
  }

  /** @returns after how many milliseconds what is touched then may be trimmed */
  private async runThrough(): Promise<number> {
    const patterns = [...this.touched];
    this.touched.clear();
    try {
      await Promise.all(patterns.map((pattern) => this.trim(pattern)));
      this.backoff.reset();
      return TRIM_AFTER_MS;
    } catch (error) {
      if (this.isClosed) {
        return 0;
      }
      // Whichever failed: to look at one once more costs a call.
      for (const pattern of patterns) {
        this.touched.add(pattern);
      }
      this.options.onFailure(error);
      return this.backoff.next();
    }
  }

  private async trim(pattern: string): Promise<void> {
    const { shard, subscribers } = this.options;
    const topic = shard.keys.topic(pattern);
    let looks = 0;
    while (!this.isClosed) {
      const { version } = subscribers;
      const outcome =
        version === undefined
          ? 'stale'
          : await trimTopic(
              shard.commands.client,
              shard.keys,
              topic,
              version,
              subscribers.of(pattern),
              subscribers.hasBroadcasts(pattern),
            );
      if (outcome === 'young') {
        this.touchLater(pattern);
        return;
      }
      if (outcome === 'done' || outcome === 'kept') {
        return;
      }
      if (outcome === 'stale') {
        if (looks++ === MAX_LOOKS) {
          this.touched.add(pattern);
          return;
        }
        await this.lookAgain(pattern);
      }
    }
  }

  /** A hash without our own subscription (FLUSHALL) says nothing of the others either: everybody has to write again. */
  private async lookAgain(pattern: string): Promise<void> {
    const { service, subscriptions, subscribers } = this.options;
    await subscribers.look();
    if (!subscribers.has(service, pattern)) {
      await subscriptions.renew();
      await subscribers.look();
    }
  }
}
