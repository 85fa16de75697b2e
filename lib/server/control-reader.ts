import type { Redis } from 'ioredis';
import { BLOCK_MS, BlockingReader } from '../redis/blocking-reader.js';
import type { Shard } from '../redis/shard.js';
import { messageOf } from '../redis/redis-errors.js';
import type { StreamBatch } from '../redis/replies.js';
import type { Reporter } from './reporter.js';

/** Entries of one read. A full batch says that this instance is behind, and may have missed some. */
const READ_COUNT = 1_000;

/** Cancellations that are looked up at once. */
const MAX_CANCELLED = 10_000;

const BEGINNING = '0-0';

/** Who is told what the service's instances tell each other. */
export interface ControlListener {
  /** A request was cancelled after it had been delivered. */
  cancelled(requestId: string): void;
  /** Entries of a stream wait to be taken over. */
  orphaned(stream: string): void;
}

/** The control stream of a shard, and how far it has been read. */
interface Source {
  shard: Shard;
  key: string;
  lastId: string;
  listener: ControlListener;
  onForgotten: () => void;
}

/**
 * Reads a service's control streams, as each of its instances does: cancellations, and news of orphans. After a gap it
 * looks up which requests are cancelled; orphans a sweep finds.
 */
export class ControlReader {
  readonly reader: BlockingReader;
  private readonly sources: readonly Source[];

  /** @param sides the shards that one connection can read, and who is told of each one's news */
  constructor(
    sides: readonly { shard: Shard; listener: ControlListener }[],
    private readonly reporter: Reporter,
  ) {
    const { service } = reporter.instance;
    this.sources = sides.map(({ shard, listener }) => {
      const source: Source = {
        shard,
        listener,
        key: shard.keys.control(service),
        lastId: BEGINNING,
        // The ids of what comes may lie below those that were read.
        onForgotten: () => (source.lastId = BEGINNING),
      };
      shard.onForgotten(source.onForgotten);
      return source;
    });
    this.reader = new BlockingReader({
      role: 'control',
      factory: sides[0]!.shard.factory,
      log: reporter.log,
      read: (redis) => this.read(redis),
      deliver: (batches) => this.deliver(batches),
      connected: () => this.sources.forEach((source) => this.lookUpCancelled(source)),
    });
  }

  /** What was written before this is no news. Before the first read. */
  async begin(): Promise<void> {
    await Promise.all(
      this.sources.map((source) =>
        source.shard.settingUp(async () => {
          const { client } = source.shard.commands;
          const [last] = await client.xrevrange(source.key, '+', '-', 'COUNT', 1);
          source.lastId = last?.[0] ?? BEGINNING;
        }),
      ),
    );
  }

  /** At once: a read that is abandoned takes nothing from anybody. */
  close(): void {
    this.reader.close();
    for (const { shard, onForgotten } of this.sources) {
      shard.offForgotten(onForgotten);
    }
  }

  private read(redis: Redis): Promise<unknown> {
    const keys = this.sources.map(({ key }) => key);
    const ids = this.sources.map(({ lastId }) => lastId);
    return redis.xreadBuffer('COUNT', READ_COUNT, 'BLOCK', BLOCK_MS, 'STREAMS', ...keys, ...ids);
  }

  private deliver(batches: StreamBatch[]): void {
    for (const { stream, entries } of batches) {
      const source = this.sources.find(({ key }) => key === stream)!;
      for (const { id, fields } of entries) {
        source.lastId = id;
        take(source.listener, fields?.[0]?.toString(), fields?.[1]?.toString());
      }
      if (entries.length === READ_COUNT) {
        this.lookUpCancelled(source);
      }
    }
  }

  private lookUpCancelled({ shard, listener }: Source): void {
    const { commands, keys, clock } = shard;
    if (!commands.isReady) {
      return;
    }
    const now = Math.floor(clock.now());
    commands.client.zrangebyscore(keys.cancelled, now, '+inf', 'LIMIT', 0, MAX_CANCELLED).then(
      (ids) => ids.forEach((id) => listener.cancelled(id)),
      (error: unknown) =>
        this.reporter.warnings.report(
          'Cancellations',
          `It could not be looked up which requests were cancelled meanwhile: ${messageOf(error)}`,
        ),
    );
  }
}

function take(listener: ControlListener, kind: string | undefined, value: string | undefined): void {
  if (kind === 'cancel' && value !== undefined) {
    listener.cancelled(value);
  } else if (kind === 'orphans' && value !== undefined) {
    listener.orphaned(value);
  }
}
