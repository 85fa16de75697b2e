import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Keys } from '../../lib/redis/keys.js';
import type { Message } from './load.js';

/** The consumer group of the recorder. */
export const RECORDER = 'recorder';

const BLOCK_MS = 500;
const AGAIN_AFTER_MS = 20;

/**
 * Keeps a topic's history. It is a subscribed service like any other to those who trim the topic, so that no entry
 * goes before it is on record here; it connects directly, and no fault but Redis' own touches it.
 */
export class Recorder {
  /** The ids of the entries of each message, by the message's id. */
  readonly stored = new Map<string, Set<string>>();
  private readonly redis: Redis;
  private loop: Promise<void> | undefined;
  private isStopped = false;
  /** `0`: what was read on a connection that was lost before the answer came. */
  private from = '>';

  constructor(
    url: string,
    private readonly keys: Keys,
    private readonly topic: string,
    private readonly pattern: string,
  ) {
    this.redis = new Redis(url, {
      // A read that was not answered may have taken entries: it must fail, and not be sent again.
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => 50,
    });
    // The loop sees it.
    this.redis.on('error', () => undefined);
  }

  async start(): Promise<void> {
    await this.subscribe();
    this.loop = this.read();
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await this.loop;
    this.redis.disconnect();
  }

  private async subscribe(): Promise<void> {
    const added = await this.redis.hset(this.keys.subscriptions, `${RECORDER} ${this.pattern}`, Date.now());
    if (added > 0) {
      await this.redis.hincrby(this.keys.subscriptions, 'version', 1);
    }
    await this.redis.xgroup('CREATE', this.topic, RECORDER, '0', 'MKSTREAM').catch((error: Error) => {
      if (!error.message.startsWith('BUSYGROUP')) {
        throw error;
      }
    });
  }

  private async read(): Promise<void> {
    while (!this.isStopped) {
      try {
        await this.readOnce();
      } catch {
        // Redis was killed, or wiped by a fault: that is what this loop is to outlive.
        this.from = '0';
        await pause(AGAIN_AFTER_MS);
        await this.subscribe().catch(() => undefined);
      }
    }
  }

  private async readOnce(): Promise<void> {
    const reply = await this.redis.xreadgroup(
      'GROUP',
      RECORDER,
      'only',
      'COUNT',
      1_000,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      this.topic,
      this.from,
    );
    const entries = reply?.[0]?.[1] ?? [];
    if (entries.length === 0) {
      this.from = '>';
      return;
    }
    for (const [id, fields] of entries) {
      // An entry that was read before and is deleted by now comes without its fields.
      const message = fields && messageOf(fields);
      if (message) {
        this.stored.set(message.id, (this.stored.get(message.id) ?? new Set()).add(id));
      }
    }
    await this.redis.xack(this.topic, RECORDER, ...entries.map(([id]) => id));
  }
}

/** The message that an entry carries. */
export function messageOf(fields: string[]): Message | undefined {
  const at = fields.findIndex((field, i) => i % 2 === 0 && field === 'data');
  return at < 0 ? undefined : (JSON.parse(fields[at + 1]!) as Message);
}
