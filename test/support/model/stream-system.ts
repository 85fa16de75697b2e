/** Behind an instance's name: failed events that wait there, and the entry that runs alone there. */
export const WAITING = '~wait';
export const ALONE = '~alone';

/** Consumers that no instance is: what dead and closed instances had not settled. */
export const ORPHANS = '~';
export const ORPHANS_ALONE = '~alone';
export const SUSPECTS = '~suspect';
export const ORPHANS_WAITING = '~wait';

/** A consumer of orphans. */
export type OrphanKind = typeof ORPHANS | typeof ORPHANS_ALONE | typeof SUSPECTS | typeof ORPHANS_WAITING;

/** Where an instance's orphans of a kind go when it takes them. */
export function consumerThatTakes(kind: OrphanKind, instance: string): string {
  switch (kind) {
    case ORPHANS:
      return instance;
    case ORPHANS_WAITING:
      return instance + WAITING;
    default:
      return instance + ALONE;
  }
}

/** An entry that an instance believes to be its own, and the consumer of it that has the entry then. */
export interface Held {
  instance: string;
  id: string;
  consumer: string;
}

/** What one looks at from outside. */
export interface StreamSnapshot {
  /** Ids of all entries that the stream still has, in its order. */
  stream: string[];
  /** The id of the last entry that the group was given. */
  lastDelivered: string;
  pending: { id: string; consumer: string; deliveries: number }[];
  /** The ids that the entries had which are dead letters now, as often as they are there. */
  dead: string[];
}

/**
 * One stream with one consumer group, its instances and its dead letters: the operations of which the transport's work
 * is made, each of them atomic. Implemented in memory to test the model, and by the transport's scripts on Redis.
 *
 * Consumer names, and what happens to delivery counts, are those of the design: `<instance>`, `<instance>~wait`,
 * `<instance>~alone`, `~`, `~alone`, `~suspect`, `~wait`.
 */
export interface StreamSystem {
  /** An instance begins to live, or comes back to life: it is entered among the instances, and has a lease. */
  join(instance: string): Promise<void>;
  /** Adds an entry; resolves to its id. */
  publish(): Promise<string>;
  /** Gives an instance up to `count` entries that nobody has had. */
  read(instance: string, count: number): Promise<string[]>;
  /** Only of what is still the instance's. */
  acknowledge(held: Held): Promise<void>;
  /** Has an entry wait for its next delivery. @returns whether it was still the instance's */
  retry(held: Held): Promise<boolean>;
  /** Starts an entry that waited. @returns whether it was still the instance's */
  startDue(held: Held): Promise<boolean>;
  /** Moves an entry to the dead letters. @returns whether it was still the instance's */
  deadLetter(held: Held): Promise<boolean>;
  /** The instance's lease is gone, without a word. */
  crash(instance: string): Promise<void>;
  /** Makes orphans of what dead instances hold. */
  sweep(): Promise<void>;
  /** Removes the consumers of dead instances that hold nothing, and forgets these instances. */
  retire(): Promise<void>;
  /** Has an instance take up to `count` orphans of a kind, the oldest first; resolves to their ids. */
  take(instance: string, kind: OrphanKind, count: number): Promise<string[]>;
  /** The instance closes: what it holds is for others. */
  leave(instance: string): Promise<void>;
  /** Removes entries that the group does not need any more. */
  trim(): Promise<void>;
  snapshot(): Promise<StreamSnapshot>;
}
