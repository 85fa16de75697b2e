import { isWildcard, wildcardMeans } from '../protocol/wildcard.js';
import type { Shard } from '../redis/shard.js';
import { commandFailure, messageOf, whereGroupIs } from '../redis/redis-errors.js';
import { orphan } from '../redis/scripts/orphan.js';
import { forgetInstance, retireConsumers } from '../redis/scripts/retire.js';
import { sweep, type DeadInstance } from '../redis/scripts/sweep.js';
import { announceOrphans } from './control-stream.js';
import type { Lease } from './lease.js';
import type { Reporter } from './reporter.js';
import type { Streams } from './streams.js';

/** What sweeping needs. */
export interface SweeperDeps {
  shard: Shard;
  lease: Lease;
  reporter: Reporter;
  /** What this instance reads. */
  streams: Streams;
  /** From which delivery on an entry is to run alone. */
  aloneFrom: number;
  /** Entries of a stream wait to be taken over. */
  onOrphans: (stream: string) => void;
  /** An instance was found to have died. */
  onDeath: () => void;
}

/**
 * Finds instances that died, and makes orphans of what they had not settled. One instance at a time does so, and only
 * one that has been sure of its own lease for long: a Redis that was away must not make everybody look dead.
 */
export class Sweeper {
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> | undefined;
  private isClosed = false;

  constructor(private readonly deps: SweeperDeps) {}

  start(): void {
    this.timer = setInterval(() => this.sweepOnce(), this.deps.lease.interval);
  }

  /** Sweeps no more; resolves when a sweep under way has ended. */
  async close(): Promise<void> {
    this.isClosed = true;
    clearInterval(this.timer);
    await this.sweeping;
  }

  private sweepOnce(): void {
    if (this.sweeping || !this.deps.lease.maySweep || !this.deps.shard.commands.isReady) {
      return;
    }
    this.sweeping = this.sweep()
      .catch((error: unknown) => {
        if (commandFailure(error) === 'refused') {
          this.deps.reporter.warnings.report('Sweep', `Redis refused a sweep: ${messageOf(error)}`);
        }
      })
      .finally(() => (this.sweeping = undefined));
  }

  private async sweep(): Promise<void> {
    const { shard, lease, reporter } = this.deps;
    const { keys, commands } = shard;
    const { service, id } = reporter.instance;
    const before = performance.now();
    const { dead, orphaned } = await sweep(
      commands.client,
      {
        sweep: keys.sweep(service),
        instances: keys.instances(service),
        cancelled: keys.cancelled,
        leases: keys.leases(service),
      },
      id,
      Math.floor(lease.interval * 0.9),
    );
    // An answer that took long comes from a Redis that stood still, and with it everybody's renewals.
    if (performance.now() - before >= lease.interval || !lease.maySweep) {
      return;
    }
    for (const instance of dead) {
      if (instance.id !== id && !this.isClosed) {
        await this.bury(instance);
      }
    }
    for (const stream of orphaned) {
      await this.tellOf(stream);
    }
  }

  private async bury({ id: instance, isKnown }: DeadInstance): Promise<void> {
    const { shard, reporter } = this.deps;
    const { service } = reporter.instance;
    const instances = shard.keys.instances(service);
    const lease = shard.keys.lease(service, instance);
    const streams = await this.streamsOf(service);
    let entries = 0;
    for (const stream of streams) {
      const moved = await this.orphan({ stream, lease, instances }, instance);
      if (moved === undefined) {
        // It lives after all.
        return;
      }
      if (moved > 0) {
        entries += moved;
        await this.tellOf(stream);
      }
    }
    // It is looked after for some time; that it died is said once, by whoever found it.
    if (!isKnown || entries > 0) {
      this.deps.onDeath();
      this.reportDeath(instance, entries);
    }
    if (await this.retire(streams, lease, instance)) {
      await forgetInstance(shard.commands.client, { instances, lease }, instance);
    }
  }

  private reportDeath(instance: string, entries: number): void {
    const { hooks, warnings, instance: self } = this.deps.reporter;
    hooks.report('instanceDied', { service: self.service, instance, entries });
    warnings.report(
      'Dead instances',
      `Instance ${instance} has not renewed its lease and counts as dead; ${entries} messages it had not settled are free to be taken over`,
    );
  }

  /** Also those that only instances of another version read. */
  private async streamsOf(service: string): Promise<string[]> {
    const { commands, keys } = this.deps.shard;
    const prefix = `${service} `;
    const subscribed = (await commands.client.hkeys(keys.subscriptions))
      .filter((field) => field.startsWith(prefix))
      .map((field) => field.slice(prefix.length));
    const wildcards = subscribed.filter(isWildcard);
    const named = subscribed.filter((pattern) => !isWildcard(pattern));
    const meant = wildcards.length > 0 ? await this.topicsOf(wildcards) : [];
    const topics = [...named, ...meant].map((pattern) => keys.topic(pattern));
    return [...new Set([...this.deps.streams.all, ...topics])];
  }

  /** Perhaps this instance has not heard of all of them yet. */
  private async topicsOf(wildcards: readonly string[]): Promise<string[]> {
    const { commands, keys } = this.deps.shard;
    const known = await Promise.all([
      commands.client.smembers(keys.topics),
      commands.client.zrange(keys.idle, '0', '-1'),
    ]);
    return known.flat().filter((topic) => wildcards.some((wildcard) => wildcardMeans(wildcard, topic)));
  }

  private async orphan(
    keys: { stream: string; lease: string; instances: string },
    instance: string,
  ): Promise<number | undefined> {
    const { shard, reporter, aloneFrom } = this.deps;
    const { client } = shard.commands;
    const { service } = reporter.instance;
    const moved = await whereGroupIs(async () => ({
      count: await orphan(client, keys, service, instance, aloneFrom, 'died'),
    }));
    return moved ? moved.count : 0;
  }

  private async retire(streams: readonly string[], lease: string, instance: string): Promise<boolean> {
    const { shard, reporter } = this.deps;
    const { client } = shard.commands;
    let isGone = true;
    for (const stream of streams) {
      const { service } = reporter.instance;
      const isRetired = await whereGroupIs(() =>
        retireConsumers(client, { stream, lease }, service, instance),
      );
      isGone = (isRetired ?? true) && isGone;
    }
    return isGone;
  }

  /** Others need to know, too: this instance may be full. What they are not told, they find when they sweep. */
  private async tellOf(stream: string): Promise<void> {
    const { shard, reporter, onOrphans } = this.deps;
    onOrphans(stream);
    try {
      await announceOrphans(shard, reporter.instance.service, stream);
    } catch (error) {
      reporter.warnings.report('Sweep', `Orphans could not be announced: ${messageOf(error)}`);
    }
  }
}
