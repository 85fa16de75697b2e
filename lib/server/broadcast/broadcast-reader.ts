import type { Redis } from 'ioredis';
import { BLOCK_MS, BlockingReader } from '../../redis/blocking-reader.js';
import type { Log } from '../../redis/log.js';
import type { StreamBatch } from '../../redis/replies.js';
import { Gate } from '../../util/gate.js';
import type { Lane } from '../lane.js';
import type { BroadcastWorker } from './broadcast-worker.js';

/** The most entries of a topic in one read. */
const MAX_BATCH = 100;

/** What a broadcast reader is made from. */
export interface BroadcastReaderDeps {
  lane: Lane;
  log: Log;
  /** Those of the shards that one connection can read. */
  workers: readonly BroadcastWorker[];
}

/**
 * Reads topics as each instance does by itself, on a connection of its own: without a group, from the last entry that was
 * read. After a reconnect it goes on from there. Reads no more than there is room for.
 */
export class BroadcastReader {
  readonly reader: BlockingReader;
  private readonly hasTopics = new Gate();

  constructor(private readonly deps: BroadcastReaderDeps) {
    const { lane, log, workers } = deps;
    this.reader = new BlockingReader({
      role: 'broadcast',
      factory: workers[0]!.shard.factory,
      log,
      room: () => lane.whenFree() ?? this.hasTopics.wait() ?? this.whenFewerWait(),
      read: (redis) => this.read(redis),
      deliver: (batches) => this.deliver(batches),
      connected: () => workers.forEach((worker) => worker.recheck()),
    });
  }

  /** There are more topics, or fewer: a read that waits for the others is begun anew. */
  onTopics(): void {
    const { workers } = this.deps;
    if (workers.some(({ topics }) => topics.size > 0)) {
      this.hasTopics.open();
    } else {
      this.hasTopics.shut();
    }
    this.reader.interrupt(workers[0]!.shard.commands);
  }

  /** At once: a read that is abandoned takes nothing from anybody. */
  close(): void {
    this.reader.close();
  }

  private read(redis: Redis): Promise<unknown> | undefined {
    const { lane, workers } = this.deps;
    const streams: string[] = [];
    const ids: string[] = [];
    for (const { shard, topics } of workers) {
      if (!shard.mismatch) {
        for (const { stream, lastId } of topics.all) {
          streams.push(stream);
          ids.push(lastId);
        }
      }
    }
    if (streams.length === 0 || lane.free < 1) {
      return undefined;
    }
    const count = Math.min(MAX_BATCH, Math.max(1, Math.floor(lane.free / streams.length)));
    return redis.xreadBuffer('COUNT', count, 'BLOCK', BLOCK_MS, 'STREAMS', ...streams, ...ids);
  }

  private deliver(batches: StreamBatch[]): void {
    for (const worker of this.deps.workers) {
      worker.take(batches.filter(({ stream }) => worker.topics.get(stream)));
    }
  }

  private whenFewerWait(): Promise<void> | undefined {
    for (const { runner } of this.deps.workers) {
      const waiting = runner.whenFree();
      if (waiting) {
        return waiting;
      }
    }
    return undefined;
  }
}
