import type { Redis } from 'ioredis';
import { BLOCK_MS, BlockingReader } from '../redis/blocking-reader.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
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

/**
 * Reads a service's control stream, as each of its instances does: cancellations, and news of orphans. After a gap it
 * looks up which requests are cancelled; orphans a sweep finds.
 */
export class ControlReader {
  readonly reader: BlockingReader;
  private readonly key: string;
  private lastId: string | undefined;

  constructor(
    private readonly namespace: NamespaceConnection,
    private readonly reporter: Reporter,
    private readonly listener: ControlListener,
  ) {
    this.key = namespace.keys.control(reporter.instance.service);
    this.reader = new BlockingReader({
      role: 'control',
      factory: namespace.factory,
      log: reporter.log,
      read: (redis) => this.read(redis),
      deliver: (batches) => this.deliver(batches),
      connected: () => this.lookUpCancelled(),
    });
  }

  /** What was written before this is no news. Before the first read. */
  async begin(): Promise<void> {
    const [last] = await this.namespace.commands.client.xrevrange(this.key, '+', '-', 'COUNT', 1);
    this.lastId = last?.[0] ?? BEGINNING;
  }

  /** Redis has lost everything: the ids of what comes may lie below those that were read. */
  beginAgain(): void {
    this.lastId = BEGINNING;
  }

  private read(redis: Redis): Promise<unknown> {
    return redis.xreadBuffer(
      'COUNT',
      READ_COUNT,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      this.key,
      this.lastId ?? BEGINNING,
    );
  }

  private deliver(batches: StreamBatch[]): void {
    for (const { entries } of batches) {
      for (const { id, fields } of entries) {
        this.lastId = id;
        this.take(fields?.[0]?.toString(), fields?.[1]?.toString());
      }
      if (entries.length === READ_COUNT) {
        this.lookUpCancelled();
      }
    }
  }

  private take(kind: string | undefined, value: string | undefined): void {
    if (kind === 'cancel' && value !== undefined) {
      this.listener.cancelled(value);
    } else if (kind === 'orphans' && value !== undefined) {
      this.listener.orphaned(value);
    }
  }

  private lookUpCancelled(): void {
    const { commands, keys, clock } = this.namespace;
    if (!commands.isReady) {
      return;
    }
    const now = Math.floor(clock.now());
    commands.client.zrangebyscore(keys.cancelled, now, '+inf', 'LIMIT', 0, MAX_CANCELLED).then(
      (ids) => ids.forEach((id) => this.listener.cancelled(id)),
      (error: unknown) =>
        this.reporter.warnings.report(
          'Cancellations',
          `It could not be looked up which requests were cancelled meanwhile: ${messageOf(error)}`,
        ),
    );
  }
}
