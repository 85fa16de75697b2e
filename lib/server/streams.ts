import type { Keys } from '../redis/keys.js';

/**
 * The streams of a shard that an instance reads: its inbox, and topics. Topics may be added while it runs, by what
 * subscribes to patterns that are not known beforehand; they stay until it ends.
 */
export class Streams {
  readonly inbox: string;
  private readonly patterns = new Map<string, string>();
  private everything: readonly string[] = [];
  private topicList: readonly string[] = [];

  constructor(
    private readonly keys: Keys,
    service: string,
    patterns: readonly string[],
  ) {
    this.inbox = keys.inbox(service);
    this.everything = [this.inbox];
    for (const pattern of patterns) {
      this.add(pattern);
    }
  }

  /** Inbox and topics. */
  get all(): readonly string[] {
    return this.everything;
  }

  get topics(): readonly string[] {
    return this.topicList;
  }

  has(stream: string): boolean {
    return stream === this.inbox || this.patterns.has(stream);
  }

  /** The event pattern of a topic; `undefined` for the inbox. */
  patternOf(stream: string): string | undefined {
    return this.patterns.get(stream);
  }

  /** Adds the topic of a pattern. @returns its stream; `undefined` where it is there already */
  add(pattern: string): string | undefined {
    const stream = this.keys.topic(pattern);
    if (this.patterns.has(stream)) {
      return undefined;
    }
    this.patterns.set(stream, pattern);
    this.topicList = [...this.topicList, stream];
    this.everything = [...this.everything, stream];
    return stream;
  }
}
