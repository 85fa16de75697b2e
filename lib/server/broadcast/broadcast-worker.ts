import { commandFailure, messageOf } from '../../redis/redis-errors.js';
import type { StreamBatch } from '../../redis/replies.js';
import type { Shard } from '../../redis/shard.js';
import type { Subscribed } from '../handlers.js';
import type { TopicListener } from '../topic-watch.js';
import { BroadcastRunner, type BroadcastRunnerDeps } from './broadcast-runner.js';
import { BroadcastTopics } from './broadcast-topics.js';
import { Gaps, type ReadPart } from './gaps.js';

/** What the broadcasts of a shard are made from. */
export interface BroadcastWorkerDeps extends BroadcastRunnerDeps {
  /** What each instance gets. */
  wanted: Subscribed;
  /** There are more topics to read, or fewer. */
  onTopics: () => void;
  /** Something of a topic was read: nobody else tells that it may be removed before long. */
  onRead: (pattern: string) => void;
}

/** What an instance does in one shard for its broadcast handlers. It needs no lease, since it settles nothing. */
export class BroadcastWorker implements TopicListener {
  readonly shard: Shard;
  readonly topics: BroadcastTopics;
  readonly runner: BroadcastRunner;
  readonly wildcards: readonly string[];
  private readonly gaps: Gaps;

  constructor(private readonly deps: BroadcastWorkerDeps) {
    const { shard, reporter, wanted, onTopics } = deps;
    this.shard = shard;
    this.wildcards = wanted.wildcards;
    this.topics = new BroadcastTopics(shard, wanted.topics, onTopics);
    this.runner = new BroadcastRunner(deps);
    this.gaps = new Gaps(shard, reporter);
  }

  /** Finds where what it reads begins. Once the subscriptions are written, so that it is kept from there on. */
  async begin(): Promise<void> {
    await this.shard.settingUp(() => this.topics.begin());
    this.shard.commands.on('ready', this.recheck);
    this.shard.onForgotten(this.recheck);
  }

  /** Redis may be another one: looks, in the background, whether what was read before is there. */
  readonly recheck = (): void => {
    if (this.shard.commands.isReady) {
      this.topics.recheck().catch((error: unknown) => {
        // A connection that was lost brings us here again.
        if (commandFailure(error) === 'refused') {
          this.deps.reporter.warnings.report(
            'Broadcasts',
            `It could not be looked up where topics end: ${messageOf(error)}`,
          );
        }
      });
    }
  };

  found(pattern: string): Promise<void> {
    return this.topics.add(pattern);
  }

  gone(pattern: string): void {
    this.topics.remove(pattern);
  }

  /** Takes what a read has brought of this shard. */
  take(batches: readonly StreamBatch[]): void {
    const parts: ReadPart[] = [];
    for (const { stream, entries } of batches) {
      const topic = this.topics.get(stream);
      const first = entries[0]?.id;
      if (topic && first !== undefined) {
        parts.push({ pattern: topic.pattern, stream, after: topic.lastId, first });
        for (const entry of entries) {
          topic.lastId = entry.id;
          this.runner.take(stream, entry);
        }
        this.deps.onRead(topic.pattern);
      }
    }
    if (parts.length > 0) {
      this.gaps.check(parts);
    }
  }

  /** Tries nothing again any more. */
  hold(): void {
    this.runner.hold();
    this.shard.commands.off('ready', this.recheck);
    this.shard.offForgotten(this.recheck);
  }
}
