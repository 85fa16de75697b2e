/**
 * The names of all keys of a namespace. What one command or script touches together carries the same hash tag,
 * `{<namespace>:<shard>}`, so that it lies in one slot of a Redis Cluster.
 */
export class Keys {
  /** Hash: what all who use the namespace have to agree on. Each shard has its own, all alike. */
  readonly layout: string;
  /** String, expiring: who changes the layout at present. Only the first shard's is used. */
  readonly layoutLock: string;
  /** Set: the event patterns that were ever published into this shard. */
  readonly topics: string;
  /** Stream: news of them. */
  readonly announce: string;
  /** Sorted set: event patterns that were taken out of `topics` since nothing happens to them, and when. */
  readonly idle: string;
  /**
   * Hash: `<service> <pattern>` -> when an instance last said so, and `version`. What each instance of a service gets is
   * `{<service>} <pattern>`.
   */
  readonly subscriptions: string;
  /**
   * Hash: `<stream> <group>` -> the id up to which the group has settled everything; `cut <stream>` -> the id of the
   * last entry that was removed from a topic with broadcast handlers.
   */
  readonly floors: string;
  /** Sorted set: ids of requests that were cancelled after they had been delivered, by their deadlines. */
  readonly cancelled: string;
  private readonly tag: string;

  constructor(
    readonly namespace: string,
    shard = 0,
  ) {
    this.tag = `{${namespace}:${shard}}`;
    this.layout = `${this.tag}:layout`;
    this.layoutLock = `${this.tag}:layout-lock`;
    this.topics = `${this.tag}:topics`;
    this.announce = `${this.tag}:announce`;
    this.idle = `${this.tag}:idle`;
    this.subscriptions = `${this.tag}:subscriptions`;
    this.floors = `${this.tag}:floors`;
    this.cancelled = `${this.tag}:cancelled`;
  }

  inbox(service: string): string {
    return `${this.tag}:inbox:${service}`;
  }

  topic(pattern: string): string {
    return `${this.tag}:topic:${pattern}`;
  }

  instances(service: string): string {
    return `${this.tag}:instances:${service}`;
  }

  /** What all leases of a service begin with; the instance's id follows. */
  leases(service: string): string {
    return `${this.tag}:lease:${service}:`;
  }

  lease(service: string, instance: string): string {
    return this.leases(service) + instance;
  }

  sweep(service: string): string {
    return `${this.tag}:sweep:${service}`;
  }

  control(service: string): string {
    return `${this.tag}:control:${service}`;
  }

  dead(service: string): string {
    return `${this.tag}:dead:${service}`;
  }

  /** `client` comes from the wire: it must have passed `isWireId`. */
  replies(client: string): string {
    return `${this.namespace}:replies:${client}`;
  }
}
