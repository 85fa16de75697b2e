import type { Redis } from 'ioredis';
import { BLOCK_MS, BlockingReader } from '../redis/blocking-reader.js';
import type { Namespace } from '../redis/namespace.js';
import type { CommandConnection } from '../redis/command-connection.js';
import type { Log } from '../redis/log.js';
import { messageOf } from '../redis/redis-errors.js';
import { nextEntryId, type StreamBatch } from '../redis/replies.js';
import { execute } from '../redis/transaction.js';
import { BurstLog } from '../util/burst-log.js';

/** Entries taken at a time; each may be 1 MiB. */
const READ_COUNT = 200;

/** What was read is trimmed away after this many entries or milliseconds. */
const TRIM_EVERY_ENTRIES = 64;
const TRIM_EVERY_MS = 100;

/** How long the node that has the stream may take to be there. */
const READY_WITHIN_MS = 2_000;

/** The shortest time that replies are kept for a client that may be gone. */
const MIN_KEEP_MS = 60_000;

/** It is tried each BLOCK to renew the stream; as long as that fails, one line says so. */
const RENEWAL_QUIET_MS = 60_000;

const BEGINNING = '0-0';

/**
 * The stream to which all replies for this process come, and its one reader. Servers do not make it, so that a client
 * that is gone stays gone: it is made here, before the first request leaves, again after every reconnect, and whenever
 * it turns out to be missing. It expires on its own when this process dies.
 */
export class ReplyStream {
  readonly key: string;
  private keepFor = MIN_KEEP_MS;
  private renewedAt = 0;
  private lastId = BEGINNING;
  private ensuring: Promise<void> | undefined;
  private untrimmed = 0;
  private trimTimer: NodeJS.Timeout | undefined;
  private reader: BlockingReader | undefined;
  private readonly warnings: BurstLog;

  constructor(
    private readonly namespace: Namespace,
    client: string,
    private readonly log: Log,
    private readonly onFrame: (field: string, payload: Buffer) => void,
  ) {
    this.key = namespace.root.keys.replies(client);
    this.warnings = new BurstLog((line) => log.warn(line), RENEWAL_QUIET_MS);
  }

  /** Makes the stream where it is missing, and renews its expiry. Calls while it is done share one attempt. */
  ensure(): Promise<void> {
    this.ensuring ??= this.ensureNow().finally(() => (this.ensuring = undefined));
    return this.ensuring;
  }

  private async ensureNow(): Promise<void> {
    const { commands } = this;
    await commands.whenReady(READY_WITHIN_MS);
    const { client } = commands;
    this.renewedAt = performance.now();
    if ((await client.pexpire(this.key, this.keepFor)) === 1) {
      return;
    }
    // An empty stream, without an entry that a reader would have to pass over.
    await execute(
      client
        .multi()
        .xgroup('CREATE', this.key, 'new', '0', 'MKSTREAM')
        .xgroup('DESTROY', this.key, 'new')
        .pexpire(this.key, this.keepFor),
    );
    this.readFromBeginning();
  }

  /** Starts reading; resolves once the first read has been written. */
  async start(): Promise<void> {
    this.reader?.close();
    this.reader = new BlockingReader({
      role: 'replies',
      factory: this.namespace.connections.readerAt(this.key),
      log: this.log,
      read: (redis) => this.read(redis),
      deliver: (batches) => this.deliver(batches),
      written: () => this.commands.written(),
      cycled: () => this.renew(),
      connected: () => this.onConnected(),
    });
    await this.reader.start();
  }

  /** Stops at once, and removes the stream: what would still arrive is for nobody. Where that fails, it expires. */
  stop(): void {
    const { commands } = this;
    if (this.reader && commands.isReady) {
      commands.client.unlink(this.key).catch(() => undefined);
    }
    clearTimeout(this.trimTimer);
    this.trimTimer = undefined;
    this.reader?.close();
    this.reader = undefined;
    this.warnings.close();
  }

  /** Sees to it that replies outlast a request of this timeout, in ms, by as much again. */
  keepAtLeast(timeout: number): void {
    if (timeout * 2 > this.keepFor) {
      this.keepFor = timeout * 2;
      this.renewedAt = 0;
    }
  }

  /** Looked for each time: in a cluster the stream may move from node to node. */
  private get commands(): CommandConnection {
    return this.namespace.connectionFor(this.key);
  }

  private onConnected(): void {
    this.readFromBeginning();
    if (this.namespace.connections.isCluster) {
      // It may be another node than before, of which no connection for commands tells.
      this.renewedAt = 0;
      this.renew();
    }
  }

  private read(redis: Redis): Promise<unknown> {
    return redis.xreadBuffer('COUNT', READ_COUNT, 'BLOCK', BLOCK_MS, 'STREAMS', this.key, this.lastId);
  }

  private deliver(batches: StreamBatch[]): void {
    for (const { entries } of batches) {
      for (const { id, fields } of entries) {
        this.lastId = id;
        for (let i = 0; fields && i + 1 < fields.length; i += 2) {
          this.onFrame(fields[i]!.toString('latin1'), fields[i + 1]!);
        }
      }
      this.untrimmed += entries.length;
    }
    if (this.untrimmed >= TRIM_EVERY_ENTRIES) {
      this.trim();
    } else {
      this.trimTimer ??= setTimeout(() => this.trim(), TRIM_EVERY_MS);
    }
  }

  private trim(): void {
    clearTimeout(this.trimTimer);
    this.trimTimer = undefined;
    const { commands } = this;
    if (this.untrimmed === 0 || !commands.isReady) {
      return;
    }
    this.untrimmed = 0;
    const upTo = nextEntryId(this.lastId);
    commands.atEndOfTurn(() => {
      if (commands.isReady) {
        // What a lost connection leaves untrimmed goes with the next one, or expires.
        commands.client.xtrim(this.key, 'MINID', upTo).catch(() => undefined);
      }
    });
  }

  private renew(): void {
    if (performance.now() - this.renewedAt >= BLOCK_MS - 100 && this.commands.isReady) {
      this.ensure().catch((error: unknown) => {
        this.warnings.report(
          'The reply stream could not be renewed',
          `The reply stream could not be renewed: ${messageOf(error)}; trying again every ${BLOCK_MS} ms`,
        );
      });
    }
  }

  /** Ids of another stream, or of another server, may lie below those that were read here. Known frames are dropped. */
  private readFromBeginning(): void {
    this.lastId = BEGINNING;
    this.untrimmed = 0;
  }
}
