import { errorWord, isReplyError } from '../../redis/redis-errors.js';
import { entryTime, isEarlier, lastGenerated, parseTime } from '../../redis/replies.js';
import type { Shard } from '../../redis/shard.js';

const BEGINNING = '0-0';

/** A topic, and the last entry of it that was read. */
export interface BroadcastTopic {
  readonly pattern: string;
  readonly stream: string;
  lastId: string;
}

/**
 * What an instance reads by itself in a shard, and how far it is: what was published since it started. Topics that
 * wildcards mean come and go while it runs.
 */
export class BroadcastTopics {
  private readonly byStream = new Map<string, BroadcastTopic>();
  /** Topics of single patterns, which stay. */
  private readonly fixed: ReadonlySet<string>;
  /** After which entry a topic is read that comes later. */
  private origin = BEGINNING;
  private isBegun = false;

  /**
   * @param patterns those of single topics
   * @param onChange there are more topics, or fewer
   */
  constructor(
    private readonly shard: Shard,
    private readonly patterns: readonly string[],
    private readonly onChange: () => void,
  ) {
    this.fixed = new Set(patterns);
  }

  get all(): Iterable<BroadcastTopic> {
    return this.byStream.values();
  }

  get size(): number {
    return this.byStream.size;
  }

  get(stream: string): BroadcastTopic | undefined {
    return this.byStream.get(stream);
  }

  /** Finds where each topic ends now. Before the first read. */
  async begin(): Promise<void> {
    const { client } = this.shard.commands;
    this.origin = `${Math.floor(parseTime(await client.time()))}-0`;
    await Promise.all(this.patterns.map((pattern) => this.addAtEnd(pattern)));
  }

  /** From here on, topics that are added are new: they are read from where this instance began. */
  begun(): void {
    this.isBegun = true;
  }

  /** Adds the topic of a pattern, unless it is there. */
  async add(pattern: string): Promise<void> {
    const stream = this.shard.keys.topic(pattern);
    if (this.byStream.has(stream)) {
      return;
    }
    if (this.isBegun) {
      this.byStream.set(stream, { pattern, stream, lastId: this.origin });
    } else {
      await this.addAtEnd(pattern);
    }
    this.onChange();
  }

  /** A topic was removed from Redis. */
  remove(pattern: string): void {
    if (!this.fixed.has(pattern) && this.byStream.delete(this.shard.keys.topic(pattern))) {
      this.onChange();
    }
  }

  private async addAtEnd(pattern: string): Promise<void> {
    const stream = this.shard.keys.topic(pattern);
    this.byStream.set(stream, { pattern, stream, lastId: await this.endOf(stream) });
  }

  private async endOf(stream: string): Promise<string> {
    try {
      return lastGenerated(await this.shard.commands.client.xinfo('STREAM', stream));
    } catch (error) {
      if (isReplyError(error) && errorWord(error) === 'ERR' && error.message.includes('no such key')) {
        return BEGINNING;
      }
      throw error;
    }
  }

  /**
   * After a connection was made, or Redis has lost what it held: it may be another Redis, whose ids lie below those that
   * were read. A topic that is not there, or ends before what was read of it, is read from its beginning.
   */
  async recheck(): Promise<void> {
    if (!this.isBegun) {
      return;
    }
    const isBehind = parseTime(await this.shard.commands.client.time()) < entryTime(this.origin);
    if (isBehind) {
      this.origin = BEGINNING;
    }
    const changed = await Promise.all([...this.byStream.values()].map((topic) => this.recheckOne(topic)));
    if (changed.includes(true)) {
      this.onChange();
    }
  }

  private async recheckOne(topic: BroadcastTopic): Promise<boolean> {
    const { lastId } = topic;
    const end = await this.endOf(topic.stream);
    // Unless something was read meanwhile, which the answer may not know of.
    const isBelow = topic.lastId === lastId && isEarlier(end, lastId);
    if (isBelow) {
      topic.lastId = BEGINNING;
    }
    return isBelow;
  }
}
