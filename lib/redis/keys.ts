/** The shard of everything that belongs to a namespace as a whole. */
const ROOT_SHARD = 0;

/**
 * The names of all keys of a namespace. What one command or script touches together carries the same hash tag,
 * `{<namespace>:<shard>}`, so that it lies in one slot of a Redis Cluster.
 */
export class Keys {
  readonly layout: string;
  readonly topics: string;
  readonly announce: string;
  private readonly tag: string;

  constructor(
    readonly namespace: string,
    shard = ROOT_SHARD,
  ) {
    const root = `{${namespace}:${ROOT_SHARD}}`;
    this.layout = `${root}:layout`;
    this.topics = `${root}:topics`;
    this.announce = `${root}:announce`;
    this.tag = `{${namespace}:${shard}}`;
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

  /** `client` comes from the wire: it must have passed `isWireId`. */
  replies(client: string): string {
    return `${this.namespace}:replies:${client}`;
  }
}
