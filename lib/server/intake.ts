import type { Redis } from 'ioredis';
import { BLOCK_MS, BlockingReader } from '../redis/blocking-reader.js';
import type { Log } from '../redis/log.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { isNoGroup } from '../redis/redis-errors.js';
import type { StreamBatch } from '../redis/replies.js';
import { Gate } from '../util/gate.js';
import type { Instance } from './context.js';
import type { Dispatcher } from './dispatcher.js';
import type { Lane } from './lane.js';
import type { RightToSettle } from './lease.js';
import { ReadPlan, type Read } from './read-plan.js';
import type { RetryQueue } from './retry-queue.js';

/**
 * The most requests taken at a time. In one large batch client, Redis and server wait for each other by turns; in
 * several they work at the same time (measured at 128 in flight: a quarter more requests a second).
 */
const MAX_BATCH = 48;

/** What an intake is made from. */
export interface IntakeDeps {
  namespace: NamespaceConnection;
  instance: Instance;
  right: RightToSettle;
  dispatcher: Dispatcher;
  retries: RetryQueue;
  log: Log;
  inbox: string;
  topics: readonly string[];
  /** A connection that reads these streams was made, or made again. */
  onConnected: (streams: readonly string[]) => void;
  /** These entries came after the lease had come into doubt: perhaps they are not ours any more. */
  onDoubtful: (batches: readonly StreamBatch[]) => void;
  /** Makes the groups that are gone. */
  ensureGroups: (streams: readonly string[]) => Promise<void>;
}

/**
 * Reads inbox and topics, apart, each on a connection of its own: every stream named in an XREADGROUP costs Redis time,
 * and event patterns must not tax requests. Reads no more than there is room for, and nothing while the lease is in doubt.
 */
export class Intake {
  readonly readers: readonly BlockingReader[];
  private readonly reading = new Gate(true);
  private readonly inboxReader: BlockingReader;
  private readonly topicReader: BlockingReader | undefined;

  constructor(private readonly deps: IntakeDeps) {
    const { dispatcher, retries, inbox, topics } = deps;
    const { requestLane, eventLane } = dispatcher;
    this.inboxReader = this.makeReader('inbox', [inbox], requestLane, (free) => ({
      streams: [inbox],
      count: Math.min(MAX_BATCH, free),
      blocks: true,
    }));
    this.readers = [this.inboxReader];
    if (topics.length > 0) {
      const plan = new ReadPlan(topics);
      this.topicReader = this.makeReader(
        'topics',
        topics,
        eventLane,
        (free) => plan.next(free, performance.now()),
        (batches) => plan.took(batches),
        () => retries.whenFree(),
      );
      this.readers = [this.inboxReader, this.topicReader];
    }
  }

  /** Begins no read any more; one that is under way may still bring something. */
  pause(): void {
    this.reading.shut();
  }

  resume(): void {
    this.reading.open();
  }

  /** How long the stream's read has been under way, in ms; `undefined` where none is. */
  readingFor(stream: string): number | undefined {
    return (stream === this.deps.inbox ? this.inboxReader : this.topicReader)?.readingFor;
  }

  private makeReader(
    role: 'inbox' | 'topics',
    streams: readonly string[],
    lane: Lane,
    next: (free: number) => Read,
    took: (batches: readonly StreamBatch[]) => void = () => undefined,
    room: () => Promise<void> | undefined = () => undefined,
  ): BlockingReader {
    const { namespace, log, dispatcher, right, onConnected, onDoubtful } = this.deps;
    let epoch = right.epoch;
    return new BlockingReader({
      role,
      factory: namespace.factory,
      log,
      room: () => this.reading.wait() ?? lane.whenFree() ?? room(),
      read: (redis) => {
        ({ epoch } = right);
        return this.read(redis, lane, next);
      },
      deliver: (batches) => {
        took(batches);
        if (right.isHeld && right.epoch === epoch) {
          dispatcher.takeBatches(batches);
        } else {
          // Others may have taken what this read has brought.
          onDoubtful(batches);
        }
      },
      written: () => namespace.commands.written(),
      connected: () => onConnected(streams),
      repair: (error) => this.repair(error, streams),
    });
  }

  private read(redis: Redis, lane: Lane, next: (free: number) => Read): Promise<unknown> | undefined {
    const { namespace, instance, right } = this.deps;
    if (!right.isHeld) {
      right.restore();
      return undefined;
    }
    if (namespace.mismatch || lane.free < 1) {
      return undefined;
    }
    const { service, id } = instance;
    const { streams, count, blocks } = next(lane.free);
    const ids = streams.map(() => '>');
    return blocks
      ? redis.xreadgroupBuffer(
          'GROUP',
          service,
          id,
          'COUNT',
          count,
          'BLOCK',
          BLOCK_MS,
          'STREAMS',
          ...streams,
          ...ids,
        )
      : redis.xreadgroupBuffer('GROUP', service, id, 'COUNT', count, 'STREAMS', ...streams, ...ids);
  }

  /** A group that is gone (FLUSHALL, DEL, XGROUP DESTROY, failover) is made again. */
  private async repair(error: Error, streams: readonly string[]): Promise<boolean> {
    if (!isNoGroup(error)) {
      return false;
    }
    await this.deps.ensureGroups(streams);
    return true;
  }
}
