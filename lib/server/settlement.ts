import type { Log } from '../redis/log.js';
import type { Shard } from '../redis/shard.js';
import { commandFailure, isNoPermission, messageOf } from '../redis/redis-errors.js';
import { BurstLog } from '../util/burst-log.js';
import { Backoff, pause } from '../util/time.js';
import { WaitGroup } from '../util/wait-group.js';
import type { Delivery } from './delivery.js';
import type { Holdings } from './holdings.js';
import { InboxCleaner } from './inbox-cleaner.js';
import type { RightToSettle } from './lease.js';

/** So many acknowledgements leave with the next replies, fewer after this time: not a command for each request. */
const ACKNOWLEDGE_AT = 32;
const ACKNOWLEDGE_WITHIN_MS = 10;

/** How often an acknowledgement on receipt that could not be written looks whether Redis is back. */
const RETRY_RECEIPT_MS = 1_000;

/** Ids in one XACK. */
const MAX_PER_COMMAND = 1_000;

/** How often, while draining, entries that were settled meanwhile are removed. */
const DRAIN_EVERY_MS = 20;

type ByStream = Map<string, Delivery[]>;

/**
 * Where a message is acknowledged. An entry goes through it once: acknowledged soon (one XACK for all of a stream),
 * and, where it came from an inbox, removed later, many at once, once Redis has confirmed that. What Redis does not
 * confirm is tried again until it does: both commands may be repeated without harm, and the entry is this instance's own.
 */
export class Settlement {
  private acknowledging: ByStream = new Map();
  private readonly backoff = new Backoff();
  private readonly warnings: BurstLog;
  private readonly open = new WaitGroup();
  private readonly inbox: string;
  private readonly cleaner: InboxCleaner;
  private isClosed = false;
  private scheduled = false;
  private unwritten = 0;
  private acknowledgeTimer: NodeJS.Timeout | undefined;
  private retryTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly shard: Shard,
    private readonly group: string,
    private readonly holdings: Holdings<Delivery>,
    private readonly right: RightToSettle,
    log: Log,
    /** Is told of each topic on which Redis has confirmed an acknowledgement. */
    private readonly settled: (stream: string) => void,
  ) {
    this.warnings = new BurstLog((line) => log.warn(line));
    this.inbox = shard.keys.inbox(group);
    this.cleaner = new InboxCleaner({
      commands: shard.commands,
      stream: this.inbox,
      group,
      onRemoved: (count) => this.open.done(count),
      onFailure: (error) => this.onFailure(this.inbox, error),
    });
  }

  /** Settles an entry: acknowledged, and removed if its stream is an inbox. */
  acknowledge(delivery: Delivery): void {
    if (this.isClosed) {
      return;
    }
    this.open.add();
    this.unwritten++;
    const deliveries = this.acknowledging.get(delivery.stream);
    if (deliveries) {
      deliveries.push(delivery);
    } else {
      this.acknowledging.set(delivery.stream, [delivery]);
    }
    this.schedule();
  }

  /** Removes from the inbox what instances that died had acknowledged. Where it fails, the next death is soon enough. */
  removeLeftBehind(): void {
    this.cleaner.removeLeftBehind().catch((error: unknown) => {
      if (commandFailure(error) === 'refused' && !isNoPermission(error)) {
        this.warnings.report(
          'Left behind',
          `What others had acknowledged could not be removed from '${this.inbox}': ${messageOf(error)}`,
        );
      }
    });
  }

  /** Acknowledges entries that are not there any more, as far as that is possible: nothing depends on it. */
  forget(stream: string, ids: readonly string[]): void {
    this.shard.commands.client.xack(stream, this.group, ...ids).then(
      () => this.settled(stream),
      (error: unknown) => {
        if (commandFailure(error) === 'refused') {
          this.onFailure(stream, error);
        }
      },
    );
  }

  /**
   * Acknowledges an entry before its handler starts, for at-most-once.
   * @returns whether it was ours to acknowledge; only then may the handler run. `false` too when Redis did not answer
   */
  async acknowledgeOnReceipt(delivery: Delivery): Promise<boolean> {
    const isOurs = await this.acknowledgeNow(delivery);
    this.holdings.release(delivery);
    if (!isOurs) {
      return false;
    }
    if (delivery.isInbox) {
      this.open.add();
      this.cleaner.add([delivery.id]);
    } else {
      this.settled(delivery.stream);
    }
    return true;
  }

  private async acknowledgeNow(delivery: Delivery): Promise<boolean> {
    const { commands } = this.shard;
    while (!this.isClosed && !delivery.isLost) {
      if (!this.right.isHeld) {
        this.right.restore();
        await pause(RETRY_RECEIPT_MS);
        continue;
      }
      try {
        const { stream, id } = delivery;
        return (await commands.inTurn((client) => client.xack(stream, this.group, id))) === 1;
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

  /** Writes what waits, and resolves when Redis has confirmed all of it, or `signal` aborts. */
  async drain(signal?: AbortSignal): Promise<void> {
    this.shard.commands.atEndOfTurn(this.flush);
    while (!this.open.isIdle && !this.isClosed && !signal?.aborted) {
      this.cleaner.clean();
      await Promise.race([this.open.wait(), pause(DRAIN_EVERY_MS)]);
    }
  }

  /** Gives up what Redis has not confirmed; it stays pending there. */
  close(): void {
    this.isClosed = true;
    clearTimeout(this.acknowledgeTimer);
    this.acknowledgeTimer = undefined;
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
    if (this.scheduled || this.acknowledging.size === 0) {
      return;
    }
    if (this.unwritten >= ACKNOWLEDGE_AT) {
      this.scheduled = true;
      this.shard.commands.withNextFlush(this.flush, ACKNOWLEDGE_WITHIN_MS);
    } else {
      // Not ended by another flush: there would be a new one for each.
      this.acknowledgeTimer ??= setTimeout(() => {
        this.acknowledgeTimer = undefined;
        this.shard.commands.atEndOfTurn(this.flush);
      }, ACKNOWLEDGE_WITHIN_MS);
    }
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    const { commands } = this.shard;
    if (!commands.isReady) {
      return;
    }
    if (!this.right.isHeld) {
      this.right.restore();
      return;
    }
    const all = this.acknowledging;
    this.acknowledging = new Map();
    this.unwritten = 0;
    for (const [stream, deliveries] of all) {
      for (let i = 0; i < deliveries.length; i += MAX_PER_COMMAND) {
        this.send(
          stream,
          deliveries.length > MAX_PER_COMMAND ? deliveries.slice(i, i + MAX_PER_COMMAND) : deliveries,
        );
      }
    }
  };

  private send(stream: string, deliveries: Delivery[]): void {
    const ours: Delivery[] = [];
    const ids: string[] = [];
    for (const delivery of deliveries) {
      if (!delivery.isLost) {
        ours.push(delivery);
        ids.push(delivery.id);
      }
    }
    this.open.done(deliveries.length - ours.length);
    if (ours.length > 0) {
      this.shard.commands.client.xack(stream, this.group, ...ids).then(
        () => this.onAcknowledged(stream, ours, ids),
        (error: unknown) => this.tryAgain(stream, ours, error),
      );
    }
  }

  private onAcknowledged(stream: string, deliveries: Delivery[], ids: string[]): void {
    this.backoff.reset();
    for (const delivery of deliveries) {
      this.holdings.release(delivery);
    }
    if (stream === this.inbox) {
      this.cleaner.add(ids);
    } else {
      this.open.done(ids.length);
      this.settled(stream);
    }
  }

  private tryAgain(stream: string, deliveries: Delivery[], error: unknown): void {
    if (this.isClosed) {
      return;
    }
    this.acknowledging.set(stream, deliveries.concat(this.acknowledging.get(stream) ?? []));
    this.unwritten += deliveries.length;
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
}
