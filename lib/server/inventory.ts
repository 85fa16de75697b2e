import { LeaseLostError } from '../errors.js';
import type { Shard } from '../redis/shard.js';
import { ALONE, ORPHANS_ALONE, WAITING } from '../redis/consumers.js';
import { whereGroupIs } from '../redis/redis-errors.js';
import { nextEntryId, parsePending, type PendingEntry } from '../redis/replies.js';
import { moveEntries } from '../redis/scripts/move.js';
import type { Claims } from './claims.js';
import { announceOrphans } from './control-stream.js';
import type { Delivery } from './delivery.js';
import type { Holdings } from './holdings.js';
import type { Reporter } from './reporter.js';
import type { RetryQueue } from './retry-queue.js';

/** Entries in one answer of XPENDING. */
const PAGE = 1_000;

/** Redis counts idle times in whole milliseconds. */
const ROUNDING_MS = 2;

/** What an inventory is made from. */
export interface InventoryDeps {
  shard: Shard;
  holdings: Holdings<Delivery>;
  claims: Claims;
  retries: RetryQueue;
  reporter: Reporter;
}

/** Compares what this instance holds with what Redis counts as its own. */
export class Inventory {
  private readonly checking = new Set<string>();

  constructor(private readonly deps: InventoryDeps) {}

  /**
   * Finds and starts strays: entries that Redis gave to a connection which died before it brought them. No error tells
   * of them. XREADGROUP is not asked for them: with an id it raises the counts of everything.
   * @param readingFor how long the stream's read has been under way: what was delivered before it can no longer come
   */
  async startStrays(stream: string, readingFor: () => number | undefined): Promise<void> {
    const { claims, holdings, reporter } = this.deps;
    if (this.checking.has(stream)) {
      return;
    }
    this.checking.add(stream);
    const from = reporter.instance.id;
    try {
      const started = await claims.inTurn(async () => {
        const which: string[] = [];
        await this.eachPage(stream, from, (entries) => {
          const bound = (readingFor() ?? 0) + ROUNDING_MS;
          for (const { id, idle } of entries) {
            if (idle > bound && !holdings.has(stream, id)) {
              which.push(id);
            }
          }
        });
        return which.length > 0 ? claims.startNow({ stream, from, which }) : 0;
      });
      if (started > 0) {
        reporter.warnings.report(
          'Strays',
          `${started} messages of '${stream}' had been delivered to a connection that was lost; they are handled now`,
        );
      }
    } finally {
      this.checking.delete(stream);
    }
  }

  /** Takes in failed events that wait in this instance's name without its knowing: the answer to moving them was lost. */
  async takeInWaiting(stream: string): Promise<void> {
    const { retries, reporter } = this.deps;
    await this.eachPage(stream, reporter.instance.id + WAITING, (entries) => retries.takeIn(stream, entries));
  }

  /** Gives back what was to run alone here without this instance's knowing: the answer to taking it was lost. */
  async giveBackAlone(stream: string): Promise<void> {
    const { shard, claims, holdings, reporter } = this.deps;
    const { service, id: instance } = reporter.instance;
    const from = instance + ALONE;
    const isGivenBack = await claims.inTurn(async () => {
      const which: string[] = [];
      await this.eachPage(stream, from, (entries) => {
        which.push(...entries.map(({ id }) => id).filter((id) => !holdings.has(stream, id)));
      });
      if (which.length > 0) {
        const instances = shard.keys.instances(service);
        const { client } = shard.commands;
        await moveEntries(client, { stream, group: service, from, to: ORPHANS_ALONE, which, instances });
      }
      return which.length > 0;
    });
    if (isGivenBack) {
      await announceOrphans(shard, service, stream);
    }
  }

  /**
   * Gives up what others have taken over while this instance was away: its handlers are told to stop, and nothing they
   * do is settled.
   */
  async giveUpLost(awayFor: number): Promise<void> {
    const { holdings, reporter } = this.deps;
    let lost = 0;
    for (const stream of holdings.streamKeys) {
      // Only what was held before Redis is asked: a read may bring more meanwhile.
      const held = holdings.of(stream);
      const own = held.length > 0 ? await this.ownIds(stream) : new Set<string>();
      for (const delivery of held) {
        if (!own.has(delivery.id)) {
          lost++;
          delivery.isLost = true;
          holdings.release(delivery);
          delivery.execution?.revoke(new LeaseLostError(delivery.entry.pattern));
        }
      }
    }
    const { service, id: instance } = reporter.instance;
    reporter.hooks.report('fenced', { service, instance, awayFor, lost });
    reporter.warnings.report(
      'Fenced',
      `This instance was away for ${Math.round(awayFor)} ms, longer than its lease: ${lost} of its messages have been taken over by others`,
    );
  }

  private async ownIds(stream: string): Promise<Set<string>> {
    const { id } = this.deps.reporter.instance;
    const ids = new Set<string>();
    for (const consumer of [id, id + ALONE]) {
      await this.eachPage(stream, consumer, (entries) => {
        for (const entry of entries) {
          ids.add(entry.id);
        }
      });
    }
    return ids;
  }

  /** What is pending for a consumer, page by page. Where the group is gone, nothing is. */
  private async eachPage(
    stream: string,
    consumer: string,
    take: (entries: PendingEntry[]) => void,
  ): Promise<void> {
    const { client } = this.deps.shard.commands;
    const { service } = this.deps.reporter.instance;
    let from = '-';
    for (;;) {
      const entries = parsePending(
        await whereGroupIs(() => client.xpending(stream, service, from, '+', PAGE, consumer)),
      );
      take(entries);
      if (entries.length < PAGE) {
        return;
      }
      from = nextEntryId(entries[entries.length - 1]!.id);
    }
  }
}
