import { isEarlier } from '../../../lib/redis/replies.js';
import { ALONE_FROM } from './group-model.js';
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
  type StreamSnapshot,
  type StreamSystem,
} from './stream-system.js';

/** An entry of a group's pending list. */
interface Pending {
  id: string;
  consumer: string;
  deliveries: number;
}

/** A stream in memory that does to its pending list what the scripts do in Redis. To test the model, not the transport. */
export class MemorySystem implements StreamSystem {
  protected stream: string[] = [];
  protected pending: Pending[] = [];
  protected readonly dead: string[] = [];
  private readonly leases = new Set<string>();
  private readonly instances = new Set<string>();
  private lastId = 0;
  private lastDelivered = '0-0';

  join(instance: string): Promise<void> {
    this.instances.add(instance);
    this.leases.add(instance);
    return Promise.resolve();
  }

  publish(): Promise<string> {
    const id = `${++this.lastId}-0`;
    this.stream.push(id);
    return Promise.resolve(id);
  }

  read(instance: string, count: number): Promise<string[]> {
    const ids = this.stream.filter((id) => isEarlier(this.lastDelivered, id)).slice(0, count);
    this.pending.push(...ids.map((id) => ({ id, consumer: instance, deliveries: 1 })));
    this.lastDelivered = ids.at(-1) ?? this.lastDelivered;
    return Promise.resolve(ids);
  }

  acknowledge({ id }: Held): Promise<void> {
    this.pending = this.pending.filter((entry) => entry.id !== id);
    return Promise.resolve();
  }

  retry(held: Held): Promise<boolean> {
    return Promise.resolve(this.claim(held, held.instance + WAITING, 0));
  }

  startDue(held: Held): Promise<boolean> {
    return Promise.resolve(this.claim(held, held.instance, 1));
  }

  async deadLetter(held: Held): Promise<boolean> {
    if (!this.find(held)) {
      return false;
    }
    this.dead.push(held.id);
    await this.acknowledge(held);
    return true;
  }

  crash(instance: string): Promise<void> {
    this.leases.delete(instance);
    return Promise.resolve();
  }

  sweep(): Promise<void> {
    for (const instance of [...this.instances].filter((name) => !this.leases.has(name))) {
      this.orphan(instance, 'died');
    }
    return Promise.resolve();
  }

  retire(): Promise<void> {
    for (const instance of [...this.instances].filter((name) => !this.leases.has(name))) {
      const consumers = [instance, instance + WAITING, instance + ALONE];
      if (consumers.every((consumer) => this.mayRemove(consumer))) {
        this.instances.delete(instance);
      }
      this.pending = this.pending.filter(
        ({ consumer }) => !(consumers.includes(consumer) && this.mayRemove(consumer)),
      );
    }
    return Promise.resolve();
  }

  take(instance: string, kind: OrphanKind, count: number): Promise<string[]> {
    const entries = this.of(kind).slice(0, count);
    for (const entry of entries) {
      entry.consumer = consumerThatTakes(kind, instance);
    }
    return Promise.resolve(entries.map(({ id }) => id));
  }

  leave(instance: string): Promise<void> {
    this.orphan(instance, 'left');
    this.leases.delete(instance);
    this.instances.delete(instance);
    return Promise.resolve();
  }

  trim(): Promise<void> {
    const [oldest] = this.inOrder();
    this.stream = this.stream.filter((id) =>
      oldest ? !isEarlier(id, oldest.id) : isEarlier(this.lastDelivered, id),
    );
    return Promise.resolve();
  }

  snapshot(): Promise<StreamSnapshot> {
    const { stream, pending, dead, lastDelivered } = this;
    return Promise.resolve(structuredClone({ stream, pending, dead, lastDelivered }));
  }

  /** Moves an entry to another consumer, if it is the one's that says so. */
  protected claim(held: Held, consumer: string, raise: number): boolean {
    const entry = this.find(held);
    if (entry) {
      entry.consumer = consumer;
      entry.deliveries += raise;
    }
    return entry !== undefined;
  }

  protected find({ id, consumer }: Held): Pending | undefined {
    return this.pending.find((entry) => entry.id === id && entry.consumer === consumer);
  }

  protected orphan(instance: string, why: 'died' | 'left'): void {
    const died = why === 'died';
    for (const entry of this.of(instance + WAITING)) {
      entry.consumer = ORPHANS_WAITING;
    }
    for (const entry of this.of(instance + ALONE)) {
      entry.consumer = died ? SUSPECTS : ORPHANS_ALONE;
      entry.deliveries += Number(died);
    }
    for (const entry of this.of(instance)) {
      entry.deliveries += Number(died);
      entry.consumer = died && entry.deliveries >= ALONE_FROM ? ORPHANS_ALONE : ORPHANS;
    }
  }

  /** XGROUP DELCONSUMER drops what is pending. */
  protected mayRemove(consumer: string): boolean {
    return this.of(consumer).length === 0;
  }

  protected of(consumer: string): Pending[] {
    return this.inOrder().filter((entry) => entry.consumer === consumer);
  }

  private inOrder(): Pending[] {
    return this.pending.toSorted((a, b) => (isEarlier(a.id, b.id) ? -1 : 1));
  }
}
