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

/** Who is told of topics that come and go. */
export interface AnnounceListener {
  announced(pattern: string): void;
  gone(pattern: string): void;
  /** There may have been more. */
  look(): void;
}

/** A shard, and who is told of its news. */
export interface ControlSide {
  shard: Shard;
  listener: ControlListener;
  /** Only where somebody subscribes to wildcards. */
  topics: AnnounceListener | undefined;
}

/** A stream of news, and how far it has been read. */
interface Source {
  shard: Shard;
  key: string;
  lastId: string;
  take: (kind: string | undefined, value: string) => void;
  /** Some of it may have been missed. */
  onGap: () => void;
  onForgotten: () => void;
}

/**
 * Reads a service's control streams, as each of its instances does: cancellations, and news of orphans; and, where there
 * are handlers of wildcards, the news of topics. After a gap it looks up which requests are cancelled, and which topics
 * there are; orphans a sweep finds.
 */
export class ControlReader {
  readonly reader: BlockingReader;
  private readonly sources: readonly Source[];

  /** @param sides the shards that one connection can read */
  constructor(
    sides: readonly ControlSide[],
    private readonly reporter: Reporter,
  ) {
    this.sources = sides.flatMap((side) => this.sourcesOf(side));
    for (const { shard, onForgotten } of this.sources) {
      shard.onForgotten(onForgotten);
    }
    this.reader = new BlockingReader({
      role: 'control',
      factory: sides[0]!.shard.factory,
      log: reporter.log,
      read: (redis) => this.read(redis),
      deliver: (batches) => this.deliver(batches),
      connected: () => this.sources.forEach((source) => source.onGap()),
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

  private sourcesOf({ shard, listener, topics }: ControlSide): Source[] {
    const { keys } = shard;
    const sources: Source[] = [
      this.source(shard, keys.control(this.reporter.instance.service), {
        take: (kind, value) => {
          if (kind === 'cancel') {
            listener.cancelled(value);
          } else if (kind === 'orphans') {
            listener.orphaned(value);
          }
        },
        onGap: () => this.lookUpCancelled(shard, listener),
      }),
    ];
    if (topics) {
      sources.push(
        this.source(shard, keys.announce, {
          take: (kind, value) => {
            if (kind === 'topic') {
              topics.announced(value);
            } else if (kind === 'gone') {
              topics.gone(value);
            }
          },
          onGap: () => topics.look(),
        }),
      );
    }
    return sources;
  }

  private source(shard: Shard, key: string, news: Pick<Source, 'take' | 'onGap'>): Source {
    const source: Source = {
      shard,
      key,
      lastId: BEGINNING,
      ...news,
      onForgotten: () => {
        // The ids of what comes may lie below those that were read.
        source.lastId = BEGINNING;
        source.onGap();
      },
    };
    return source;
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
        const value = fields?.[1]?.toString();
        if (value !== undefined) {
          source.take(fields?.[0]?.toString(), value);
        }
      }
      if (entries.length === READ_COUNT) {
        source.onGap();
      }
    }
  }

  private lookUpCancelled({ commands, keys, clock }: Shard, listener: ControlListener): void {
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
