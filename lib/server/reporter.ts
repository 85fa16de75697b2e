import type { MessageReport, RedisStreamsHooks } from '../hooks.js';
import type { Log } from '../redis/log.js';
import { BurstLog } from '../util/burst-log.js';
import type { Instance } from './context.js';
import type { Delivery } from './delivery.js';

/** Tells hooks and log what becomes of messages: the same, the log without flooding. */
export class Reporter {
  readonly warnings: BurstLog;
  readonly errors: BurstLog;

  constructor(
    readonly hooks: RedisStreamsHooks,
    readonly instance: Instance,
    readonly log: Log,
  ) {
    this.warnings = new BurstLog((line) => log.warn(line));
    this.errors = new BurstLog((line) => log.error(line));
  }

  /** What all reports about a message have in common. */
  about = ({ entry, id, stream, deliveries, isBroadcast }: Delivery): MessageReport => {
    return {
      service: this.instance.service,
      instance: this.instance.id,
      pattern: entry.pattern,
      entryId: id,
      stream,
      kind: entry.reply !== undefined ? 'request' : isBroadcast ? 'broadcast' : 'event',
      deliveries,
    };
  };

  /** For those reports that say no more than what they are about. */
  note(name: 'read' | 'takenOver' | 'expired', delivery: Delivery): void {
    if (this.hooks.listens(name)) {
      this.hooks.report(name, this.about(delivery));
    }
  }

  /** Writes what is still only counted. */
  close(): void {
    this.warnings.close();
    this.errors.close();
  }
}
