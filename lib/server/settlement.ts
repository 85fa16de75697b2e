import type { Log } from '../redis/log.js';
import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { commandFailure, messageOf } from '../redis/redis-errors.js';
import { BurstLog } from '../util/burst-log.js';
import { Gate } from '../util/gate.js';
import { Backoff, pause } from '../util/time.js';
import type { Delivery } from './delivery.js';
import { InboxCleaner } from './inbox-cleaner.js';

/** An acknowledgement leaves with the next replies, and at the latest after this time. */
const ACKNOWLEDGE_WITHIN_MS = 10;

/** How often an acknowledgement on receipt that could not be written looks whether Redis is back. */
const RETRY_RECEIPT_MS = 1_000;

/** Ids in one XACK. */
const MAX_PER_COMMAND = 1_000;

/** How often, while draining, entries that were settled meanwhile are removed. */
const DRAIN_EVERY_MS = 20;

type IdsByStream = Map<string, string[]>;

/**
 * Where a message is acknowledged. An entry goes through it once: acknowledged with the next write (one XACK for all
 * of a stream), and, where it came from an inbox, removed later, many at once, once Redis has confirmed that. What
 * Redis does not confirm is tried again until it does: both commands may be repeated without harm, and the entry is
 * this instance's own.
 */
export class Settlement {
  private readonly acknowledging: IdsByStream = new Map();
  private readonly backoff = new Backoff();
  private readonly warnings: BurstLog;
  private readonly done = new Gate(true);
  private readonly inbox: string;
  private readonly cleaner: InboxCleaner;
  private isClosed = false;
  private open = 0;
  private scheduled = false;
  private retryTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly namespace: NamespaceConnection,
    private readonly group: string,
    log: Log,
    /** Is told of each stream, other than the inbox, on which Redis has confirmed an acknowledgement. */
    private readonly acknowledged: (stream: string) => void,
  ) {
    this.warnings = new BurstLog((line) => log.warn(line));
    this.inbox = namespace.keys.inbox(group);
    this.cleaner = new InboxCleaner({
      commands: namespace.commands,
      stream: this.inbox,
      group,
      onRemoved: (count) => this.count(-count),
      onFailure: (error) => this.onFailure(this.inbox, error),
    });
  }

  /** Settles an entry: acknowledged, and removed if its stream is an inbox. */
  acknowledge(delivery: Delivery): void {
    if (this.isClosed) {
      return;
    }
    this.count(1);
    add(this.acknowledging, delivery.stream, delivery.id);
    this.schedule();
  }

  /**
   * Acknowledges an entry before its handler starts, for at-most-once.
   * @returns whether it was ours to acknowledge; only then may the handler run. `false` too when Redis did not answer
   */
  async acknowledgeOnReceipt(delivery: Delivery): Promise<boolean> {
    if (!(await this.acknowledgeNow(delivery))) {
      return false;
    }
    if (delivery.isInbox) {
      this.count(1);
      this.cleaner.add([delivery.id]);
    } else {
      this.acknowledged(delivery.stream);
    }
    return true;
  }

  private async acknowledgeNow(delivery: Delivery): Promise<boolean> {
    const { commands } = this.namespace;
    while (!this.isClosed) {
      try {
        const write = (): Promise<number> => commands.client.xack(delivery.stream, this.group, delivery.id);
        return (await this.inTurn(write)) === 1;
      } catch (error) {
        if (commandFailure(error) !== 'unsent') {
          this.warnings.report(
            'Acknowledging on receipt',
            `Entry ${delivery.id} of '${delivery.stream}' is not handled, since Redis did not confirm its acknowledgement: ${messageOf(error)}`,
          );
          return false;
        }
        // Never written, so nothing has happened yet.
        await commands.whenReady(RETRY_RECEIPT_MS);
      }
    }
    return false;
  }

  /** Writes what waits, and resolves when Redis has confirmed all of it. */
  async drain(): Promise<void> {
    this.namespace.commands.atEndOfTurn(this.flush);
    while (!this.done.isOpen && !this.isClosed) {
      this.cleaner.clean();
      await Promise.race([this.done.wait(), pause(DRAIN_EVERY_MS)]);
    }
  }

  /** Gives up what Redis has not confirmed; it stays pending there. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    this.acknowledging.clear();
    this.cleaner.close();
    this.warnings.close();
  }

  /** Goes on with what waited for the connection. */
  resume(): void {
    this.backoff.reset();
    this.schedule();
  }

  private schedule(): void {
    if (!this.scheduled && this.acknowledging.size > 0) {
      this.scheduled = true;
      this.namespace.commands.withNextFlush(this.flush, ACKNOWLEDGE_WITHIN_MS);
    }
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    const { commands } = this.namespace;
    if (!commands.isReady) {
      return;
    }
    for (const [stream, all] of takeAll(this.acknowledging)) {
      for (let i = 0; i < all.length; i += MAX_PER_COMMAND) {
        const ids = all.length > MAX_PER_COMMAND ? all.slice(i, i + MAX_PER_COMMAND) : all;
        commands.client.xack(stream, this.group, ...ids).then(
          () => this.onAcknowledged(stream, ids),
          (error: unknown) => this.tryAgain(stream, ids, error),
        );
      }
    }
  };

  private onAcknowledged(stream: string, ids: string[]): void {
    this.backoff.reset();
    if (stream === this.inbox) {
      this.cleaner.add(ids);
    } else {
      this.count(-ids.length);
      this.acknowledged(stream);
    }
  }

  private tryAgain(stream: string, ids: string[], error: unknown): void {
    if (this.isClosed) {
      return;
    }
    addAll(this.acknowledging, stream, ids);
    // A lost connection calls resume() when it is back; this is for all else.
    const delay = this.onFailure(stream, error);
    this.retryTimer ??= setTimeout(() => {
      this.retryTimer = undefined;
      this.schedule();
    }, delay);
  }

  /** @returns after how many milliseconds to try again */
  private onFailure(stream: string, error: unknown): number {
    if (commandFailure(error) === 'refused') {
      this.warnings.report(
        'Settling',
        `Redis refused to settle entries of '${stream}': ${messageOf(error)}; trying again`,
      );
    }
    return this.backoff.next();
  }

  private count(change: number): void {
    this.open += change;
    if (this.open === 0) {
      this.done.open();
    } else {
      this.done.shut();
    }
  }

  private inTurn<T>(write: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.namespace.commands.atEndOfTurn(() => {
        try {
          write().then(resolve, reject);
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}

function add(target: IdsByStream, stream: string, id: string): void {
  const ids = target.get(stream);
  if (ids) {
    ids.push(id);
  } else {
    target.set(stream, [id]);
  }
}

function addAll(target: IdsByStream, stream: string, ids: string[]): void {
  const known = target.get(stream);
  if (known) {
    for (const id of ids) {
      known.push(id);
    }
  } else {
    target.set(stream, ids);
  }
}

function takeAll(source: IdsByStream): [string, string[]][] {
  const all = [...source];
  source.clear();
  return all;
}
