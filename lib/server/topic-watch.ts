import { wildcardMeans } from '../protocol/wildcard.js';
import { commandFailure, messageOf } from '../redis/redis-errors.js';
import type { Shard } from '../redis/shard.js';
import { Backoff, pause } from '../util/time.js';
import type { Reporter } from './reporter.js';

/** Patterns in one look at the set of topics. */
const TOPICS_PER_LOOK = 500;

/** Is told of the topics that wildcards mean. */
export interface TopicListener {
  /** Wildcards of patterns. */
  readonly wildcards: readonly string[];
  /** There is a topic that one of them means, perhaps known already. Rejects where Redis does not do its part. */
  found(pattern: string): Promise<void>;
  /** It was removed: nothing had happened to it for long. */
  gone(pattern: string): void;
}

/**
 * Finds the topics of a shard that wildcards mean: all of them at the start, after a gap in the news, and when Redis has
 * lost them; from then on by the news. What it is told it does in that order.
 */
export class TopicWatch {
  private readonly closing = new AbortController();
  private work: Promise<void> = Promise.resolve();
  private isLookingSoon = false;

  constructor(
    private readonly shard: Shard,
    private readonly listeners: readonly TopicListener[],
    private readonly reporter: Reporter,
  ) {}

  /** Whether there is anything to watch for. */
  get isNeeded(): boolean {
    return this.listeners.some(({ wildcards }) => wildcards.length > 0);
  }

  /** Looks for the first time. Rejects where Redis cannot be asked. */
  async start(): Promise<void> {
    if (this.isNeeded) {
      await this.shard.settingUp(() => this.lookAtAll());
    }
  }

  /** A topic was announced. */
  announced(pattern: string): void {
    const listeners = this.listenersTo(pattern);
    if (listeners.length > 0) {
      this.inTurn(() => this.tell(pattern, listeners));
    }
  }

  /** A topic was removed. */
  gone(pattern: string): void {
    const listeners = this.listenersTo(pattern);
    if (listeners.length > 0) {
      this.inTurn(() => {
        listeners.forEach((listener) => listener.gone(pattern));
        return Promise.resolve();
      });
    }
  }

  /** News may have been missed. */
  look(): void {
    if (this.isNeeded && !this.isLookingSoon) {
      this.isLookingSoon = true;
      this.inTurn(() => {
        this.isLookingSoon = false;
        return this.lookAtAll();
      });
    }
  }

  close(): void {
    this.closing.abort();
  }

  /** Topics that leave are still read: whoever has them registered may publish to them. */
  private async lookAtAll(): Promise<void> {
    const { commands, keys } = this.shard;
    let cursor = '0';
    do {
      const [next, patterns] = await commands.client.sscan(keys.topics, cursor, 'COUNT', TOPICS_PER_LOOK);
      cursor = next;
      await this.tellOfAll(patterns);
    } while (cursor !== '0' && !this.closing.signal.aborted);
    await this.tellOfAll(await commands.client.zrange(keys.idle, '0', '-1'));
  }

  private async tellOfAll(patterns: readonly string[]): Promise<void> {
    await Promise.all(patterns.map((pattern) => this.tell(pattern, this.listenersTo(pattern))));
  }

  private async tell(pattern: string, listeners: readonly TopicListener[]): Promise<void> {
    await Promise.all(listeners.map((listener) => listener.found(pattern)));
  }

  private listenersTo(pattern: string): readonly TopicListener[] {
    return this.listeners.filter(({ wildcards }) => wildcards.some((one) => wildcardMeans(one, pattern)));
  }

  /** Tried until Redis has done it. */
  private inTurn(work: () => Promise<void>): void {
    this.work = this.work.then(async () => {
      const backoff = new Backoff();
      const { signal } = this.closing;
      while (!signal.aborted) {
        try {
          await work();
          return;
        } catch (error) {
          if (commandFailure(error) === 'refused') {
            this.reporter.warnings.report(
              'New topics',
              `Topics that a wildcard means could not be looked for: ${messageOf(error)}; trying again`,
            );
          }
          await pause(backoff.next(), signal);
        }
      }
    });
  }
}
