import type { Keys } from '../redis/keys.js';

/**
 * The streams of a shard that an instance reads: its inbox, and topics. Those that wildcards mean come, and go, while it
 * runs.
 */
export class Streams {
  readonly inbox: string;
  /** Stream to pattern, of all topics. */
  private readonly patterns = new Map<string, string>();
  /** Streams of topics that came later. */
  private readonly late = new Set<string>();
  private everything: readonly string[] = [];
  private topicList: readonly string[] = [];

  constructor(
    private readonly keys: Keys,
    service: string,
    patterns: readonly string[],
  ) {
    this.inbox = keys.inbox(service);
    for (const pattern of patterns) {
      this.patterns.set(keys.topic(pattern), pattern);
    }
    this.list();
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

  /** Whether a topic is read because a wildcard means it: it may go. */
  isLate(stream: string): boolean {
    return this.late.has(stream);
  }

  /** Adds the topic of a pattern. @returns its stream; `undefined` where it is there already */
  add(pattern: string): string | undefined {
    const stream = this.keys.topic(pattern);
    if (this.patterns.has(stream)) {
      return undefined;
    }
    this.patterns.set(stream, pattern);
    this.late.add(stream);
    this.list();
    return stream;
  }

  /** Removes a topic that was added. @returns whether it was there */
  remove(stream: string): boolean {
    if (!this.late.delete(stream)) {
      return false;
    }
    this.patterns.delete(stream);
    this.list();
    return true;
  }

  private list(): void {
    this.topicList = [...this.patterns.keys()];
    this.everything = [this.inbox, ...this.topicList];
  }
}
