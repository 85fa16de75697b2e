import type { Redis } from 'ioredis';
import { BLOCK_MS, BlockingReader } from '../redis/blocking-reader.js';
import type { Log } from '../redis/log.js';
import { isNoGroup } from '../redis/redis-errors.js';
import type { StreamBatch } from '../redis/replies.js';
import { Gate } from '../util/gate.js';
import type { Instance } from './context.js';
import type { Lanes } from './dispatcher.js';
import type { Lane } from './lane.js';
import { ReadPlan, type Read } from './read-plan.js';
import type { ShardWorker } from './shard-worker.js';

/**
 * The most requests taken at a time. In one large batch client, Redis and server wait for each other by turns; in
 * several they work at the same time (measured at 128 in flight: a quarter more requests a second).
 */
const MAX_BATCH = 48;

/** What an intake is made from. */
export interface IntakeDeps {
  instance: Instance;
  lanes: Lanes;
  log: Log;
  /** The shards that one connection can read. */
  workers: readonly ShardWorker[];
  /** Whether topics may come and go while this instance runs. */
  mayGetTopics: boolean;
}

/** What one connection reads, and how. */
interface Source {
  what: 'inbox' | 'topics';
  lane: Lane;
  next: (streams: readonly string[], free: number) => Read;
  took: (batches: readonly StreamBatch[]) => void;
  /** Resolves when there is room besides the lane's; `undefined` where there is. */
  room: () => Promise<void> | undefined;
}

/**
 * Reads inboxes and topics, apart, each on a connection of its own: every stream named in an XREADGROUP costs Redis
 * time, and event patterns must not tax requests. Reads no more than there is room for, and nothing of a shard whose
 * lease is in doubt.
 */
export class Intake {
  readonly readers: readonly BlockingReader[];
  private readonly reading = new Gate(true);
  private readonly hasTopics: Gate;
  private readonly inboxReader: BlockingReader;
  private readonly topicReader: BlockingReader | undefined;

  constructor(private readonly deps: IntakeDeps) {
    const { lanes, workers, mayGetTopics } = deps;
    this.inboxReader = this.makeReader({
      what: 'inbox',
      lane: lanes.requests,
      next: (streams, free) => ({
        streams,
        count: Math.min(MAX_BATCH, Math.max(1, Math.floor(free / streams.length))),
        blocks: true,
      }),
      took: () => undefined,
      room: () => undefined,
    });
    this.readers = [this.inboxReader];
    this.hasTopics = new Gate(this.readsTopics);
    if (this.hasTopics.isOpen || mayGetTopics) {
      const plan = new ReadPlan();
      this.topicReader = this.makeReader({
        what: 'topics',
        lane: lanes.events,
        next: (streams, free) => plan.next(streams, free, performance.now()),
        took: (batches) => plan.took(batches),
        room: () => this.hasTopics.wait() ?? firstOf(workers, (worker) => worker.retries.whenFree()),
      });
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

  /** There are more topics, or fewer: a read that waits for the others is begun anew. */
  onTopics(): void {
    const [{ shard }] = this.deps.workers as [ShardWorker];
    if (this.readsTopics) {
      this.hasTopics.open();
    } else {
      this.hasTopics.shut();
    }
    this.topicReader?.interrupt(shard.commands);
  }

  private get readsTopics(): boolean {
    return this.deps.workers.some(({ streams }) => streams.topics.length > 0);
  }

  /** Ends reading; what came is taken before this resolves. */
  async stop(): Promise<void> {
    const [{ shard }] = this.deps.workers as [ShardWorker];
    await Promise.all(this.readers.map((reader) => reader.stop(shard.commands)));
  }

  /** How long the stream's read has been under way, in ms; `undefined` where none is. */
  readingFor(stream: string): number | undefined {
    const isInbox = this.deps.workers.some(({ streams }) => streams.inbox === stream);
    return (isInbox ? this.inboxReader : this.topicReader)?.readingFor;
  }

  private makeReader(source: Source): BlockingReader {
    const { log, workers } = this.deps;
    const { what, lane, room, took } = source;
    const [{ shard }] = workers as [ShardWorker];
    /** Whose streams the read under way names, and the epochs of their leases. */
    let reading = new Map<ShardWorker, number>();
    return new BlockingReader({
      role: what,
      factory: shard.factory,
      log,
      room: () => this.reading.wait() ?? lane.whenFree() ?? room(),
      read: (redis) => {
        reading = new Map();
        const streams: string[] = [];
        for (const worker of workers) {
          if (worker.mayRead) {
            reading.set(worker, worker.right.epoch);
            streams.push(...worker.streamsOf(what));
          }
        }
        return streams.length === 0 || lane.free < 1
          ? undefined
          : this.read(redis, source.next(streams, lane.free));
      },
      deliver: (batches) => {
        took(batches);
        for (const [worker, epoch] of reading) {
          const its =
            workers.length === 1 ? batches : batches.filter(({ stream }) => worker.streams.has(stream));
          if (its.length > 0) {
            worker.take(its, epoch);
          }
        }
      },
      written: () => shard.commands.written(),
      connected: () => workers.forEach((worker) => worker.watch(what)),
      repair: (error) => this.repair(error, what),
    });
  }

  private read(redis: Redis, { streams, count, blocks }: Read): Promise<unknown> {
    const { service, id } = this.deps.instance;
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
  private async repair(error: Error, what: 'inbox' | 'topics'): Promise<boolean> {
    if (!isNoGroup(error)) {
      return false;
    }
    await Promise.all(this.deps.workers.map((worker) => worker.makeGroupsAgain(worker.streamsOf(what))));
    return true;
  }
}

function firstOf<T>(
  items: readonly T[],
  wait: (item: T) => Promise<void> | undefined,
): Promise<void> | undefined {
  for (const item of items) {
    const waiting = wait(item);
    if (waiting) {
      return waiting;
    }
  }
  return undefined;
}
