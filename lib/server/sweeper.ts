import type { NamespaceConnection } from '../redis/namespace-connection.js';
import { commandFailure, isNoGroup, messageOf } from '../redis/redis-errors.js';
import { orphan } from '../redis/scripts/orphan.js';
import { forgetInstance, retireConsumers } from '../redis/scripts/retire.js';
import { sweep } from '../redis/scripts/sweep.js';
import { announceOrphans } from './control-stream.js';
import type { Lease } from './lease.js';
import type { Reporter } from './reporter.js';

/** What sweeping needs. */
export interface SweeperDeps {
  namespace: NamespaceConnection;
  lease: Lease;
  reporter: Reporter;
  /** The streams this instance reads. */
  streams: readonly string[];
  /** From which delivery on an entry is to run alone. */
  aloneFrom: number;
  /** Entries of a stream wait to be taken over. */
  onOrphans: (stream: string) => void;
}

/**
 * Finds instances that died, and makes orphans of what they had not settled. One instance at a time does so, and only
 * one that has been sure of its own lease for long: a Redis that was away must not make everybody look dead.
 */
export class Sweeper {
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> | undefined;
  private isClosed = false;
  private readonly reported = new Set<string>();

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
    if (this.sweeping || !this.deps.lease.maySweep || !this.deps.namespace.commands.isReady) {
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
    const { namespace, lease, reporter } = this.deps;
    const { keys, commands } = namespace;
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
      if (instance !== id && !this.isClosed) {
        await this.bury(instance);
      }
    }
    for (const stream of orphaned) {
      this.deps.onOrphans(stream);
      await announceOrphans(namespace, service, stream);
    }
  }

  private async bury(instance: string): Promise<void> {
    const { namespace, reporter } = this.deps;
    const { service } = reporter.instance;
    const instances = namespace.keys.instances(service);
    const lease = namespace.keys.lease(service, instance);
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
        this.deps.onOrphans(stream);
        await announceOrphans(namespace, service, stream);
      }
    }
    this.reportDeath(instance, entries);
    if (await this.retire(streams, lease, instance)) {
      const { client } = namespace.commands;
      if (await forgetInstance(client, { instances, lease }, instance)) {
        this.reported.delete(instance);
      }
    }
  }

  /** It is looked after for some time; that it died is said once, unless more of its entries turn up. */
  private reportDeath(instance: string, entries: number): void {
    const { hooks, warnings, instance: self } = this.deps.reporter;
    if (this.reported.has(instance) && entries === 0) {
      return;
    }
    this.reported.add(instance);
    hooks.report('instanceDied', { service: self.service, instance, entries });
    warnings.report(
      'Dead instances',
      `Instance ${instance} has not renewed its lease and counts as dead; ${entries} messages it had not settled are free to be taken over`,
    );
  }

  /** Also those that only instances of another version read. */
  private async streamsOf(service: string): Promise<string[]> {
    const { commands, keys } = this.deps.namespace;
    const prefix = `${service} `;
    const subscribed = (await commands.client.hkeys(keys.subscriptions))
      .filter((field) => field.startsWith(prefix))
      .map((field) => keys.topic(field.slice(prefix.length)));
    return [...new Set([...this.deps.streams, ...subscribed])];
  }

  private async orphan(
    keys: { stream: string; lease: string; instances: string },
    instance: string,
  ): Promise<number | undefined> {
    const { namespace, reporter, aloneFrom } = this.deps;
    const { client } = namespace.commands;
    try {
      return await orphan(client, keys, reporter.instance.service, instance, aloneFrom, 'died');
    } catch (error) {
      if (isNoGroup(error)) {
        return 0;
      }
      throw error;
    }
  }

  private async retire(streams: readonly string[], lease: string, instance: string): Promise<boolean> {
    const { namespace, reporter } = this.deps;
    let isGone = true;
    for (const stream of streams) {
      try {
        isGone =
          (await retireConsumers(
            namespace.commands.client,
            { stream, lease },
            reporter.instance.service,
            instance,
          )) && isGone;
      } catch (error) {
        if (!isNoGroup(error)) {
          throw error;
        }
      }
    }
    return isGone;
  }
}
