import {
  ALONE,
  consumerThatTakes,
  ORPHANS,
  ORPHANS_ALONE,
  ORPHANS_WAITING,
  SUSPECTS,
  WAITING,
  type Held,
  type OrphanKind,
} from './stream-system.js';

/** From this delivery on an orphan runs alone. */
export const ALONE_FROM = 3;

/** What becomes of an entry: it is new, then pending for one consumer after another, and at last one of the others. */
export type EntryState =
  { kind: 'new' } | { kind: 'pending'; consumer: string } | { kind: 'acknowledged' } | { kind: 'dead' };

/** One entry, as the model has it. */
export interface ModelEntry {
  id: string;
  state: EntryState;
  deliveries: number;
}

/** `dead`: its lease is gone. `forgotten`: nobody looks any more whether it holds something. `closed`: it does nothing. */
export type InstanceState = 'alive' | 'dead' | 'forgotten' | 'closed';

/**
 * What should become of the entries of a stream that one group reads, and of their delivery counts. Instances are
 * asked what they believe to hold, which is not always what they do: one that lost its lease is not told.
 */
export class GroupModel {
  /** In the order of the stream. */
  readonly entries: ModelEntry[] = [];
  readonly instances = new Map<string, InstanceState>();
  /** What instances believe to hold. */
  held: Held[] = [];
  /** The id of the last entry that was read. */
  lastDelivered = '0-0';

  instancesThatAre(...states: InstanceState[]): string[] {
    return [...this.instances].filter(([, is]) => states.includes(is)).map(([instance]) => instance);
  }

  join(instance: string): void {
    this.instances.set(instance, 'alive');
  }

  publish(id: string): void {
    this.entries.push({ id, state: { kind: 'new' }, deliveries: 0 });
  }

  read(instance: string, count: number): string[] {
    const read = this.entries.filter(({ state }) => state.kind === 'new').slice(0, count);
    for (const entry of read) {
      entry.deliveries = 1;
      this.give(entry, instance, instance);
      this.lastDelivered = entry.id;
    }
    return read.map(({ id }) => id);
  }

  /** Whether an entry still is the instance's that believes so. */
  owns({ id, consumer }: Held): boolean {
    const { state } = this.entry(id);
    return state.kind === 'pending' && state.consumer === consumer;
  }

  acknowledge(held: Held): void {
    this.settle(held, { kind: 'acknowledged' });
  }

  deadLetter(held: Held): boolean {
    return this.settle(held, { kind: 'dead' });
  }

  retry(held: Held): boolean {
    return this.move(held, held.instance + WAITING, 0);
  }

  startDue(held: Held): boolean {
    return this.move(held, held.instance, 1);
  }

  crash(instance: string): void {
    this.instances.set(instance, 'dead');
  }

  /** What may have been running when its instance died may have killed it: that is a delivery. */
  sweep(): void {
    for (const instance of this.instancesThatAre('dead')) {
      this.orphan(instance + WAITING, () => ORPHANS_WAITING, 0);
      this.orphan(instance + ALONE, () => SUSPECTS, 1);
      this.orphan(instance, (deliveries) => (deliveries >= ALONE_FROM ? ORPHANS_ALONE : ORPHANS), 1);
    }
  }

  retire(): void {
    for (const instance of this.instancesThatAre('dead')) {
      if ([WAITING, ALONE, ''].every((suffix) => this.pendingFor(instance + suffix).length === 0)) {
        this.instances.set(instance, 'forgotten');
      }
    }
  }

  take(instance: string, kind: OrphanKind, count: number): string[] {
    const taken = this.pendingFor(kind).slice(0, count);
    for (const entry of taken) {
      this.give(entry, instance, consumerThatTakes(kind, instance));
    }
    return taken.map(({ id }) => id);
  }

  leave(instance: string): void {
    this.orphan(instance + WAITING, () => ORPHANS_WAITING, 0);
    this.orphan(instance + ALONE, () => ORPHANS_ALONE, 0);
    this.orphan(instance, () => ORPHANS, 0);
    this.instances.set(instance, 'closed');
    this.held = this.held.filter((held) => held.instance !== instance);
  }

  pendingFor(consumer: string): ModelEntry[] {
    return this.entries.filter(({ state }) => state.kind === 'pending' && state.consumer === consumer);
  }

  entry(id: string): ModelEntry {
    const entry = this.entries.find((candidate) => candidate.id === id);
    if (!entry) {
      throw new Error(`No entry ${id} was ever published.`);
    }
    return entry;
  }

  private settle(held: Held, state: EntryState): boolean {
    const owned = this.owns(held);
    this.release(held);
    if (owned) {
      this.entry(held.id).state = state;
    }
    return owned;
  }

  private move(held: Held, consumer: string, raise: number): boolean {
    const owned = this.owns(held);
    this.release(held);
    if (owned) {
      const entry = this.entry(held.id);
      entry.deliveries += raise;
      this.give(entry, held.instance, consumer);
    }
    return owned;
  }

  private give(entry: ModelEntry, instance: string, consumer: string): void {
    entry.state = { kind: 'pending', consumer };
    this.held.push({ instance, id: entry.id, consumer });
  }

  private release(held: Held): void {
    this.held = this.held.filter((other) => other !== held);
  }

  private orphan(consumer: string, target: (deliveries: number) => string, raise: number): void {
    for (const entry of this.pendingFor(consumer)) {
      entry.deliveries += raise;
      entry.state = { kind: 'pending', consumer: target(entry.deliveries) };
    }
  }
}
