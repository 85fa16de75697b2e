import { Redis, type ClusterOptions, type RedisOptions } from 'ioredis';
import { messageOf } from '../redis-errors.js';
import { parseSlots, type SlotRange } from '../replies.js';

/** Where a node of a cluster is. */
export interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

/** What the view of a cluster is made from. */
export interface TopologyOptions {
  /** Where to ask first. */
  seeds: readonly NodeAddress[];
  /** What all connections to its nodes have in common. */
  redisOptions: RedisOptions;
  natMap: ClusterOptions['natMap'];
}

/** A look that is this young need not be repeated: many connections are lost together. */
const FRESH_MS = 100;

/** So many nodes are asked at once, and so long: one that is dead must not keep us from the others. */
const ASKED_AT_ONCE = 3;
const ANSWER_WITHIN_MS = 2_000;

/**
 * Which node of a cluster is the master of which slot, as of the last look (CLUSTER SLOTS). It is looked at whenever a
 * connection is made, by connections of its own, which are closed after it.
 */
export class ClusterTopology {
  private ranges: readonly SlotRange[] = [];
  private known: readonly NodeAddress[] = [];
  private lookedAt = Number.NEGATIVE_INFINITY;
  private looking: Promise<void> | undefined;

  constructor(private readonly options: TopologyOptions) {}

  /** Where the cluster is, for messages. */
  get address(): string {
    return `the cluster of ${this.options.seeds.map(nameOf).join(', ')}`;
  }

  /** The master of a slot; `undefined` where nobody has it. */
  masterOf(slot: number): NodeAddress | undefined {
    return this.ranges.find(({ first, last }) => first <= slot && slot <= last)?.nodes[0];
  }

  /** All masters. */
  get masters(): readonly NodeAddress[] {
    return uniqueNodes(this.ranges.flatMap(({ nodes }) => nodes.slice(0, 1)));
  }

  /** Whether a node is the master of anything. */
  isMaster(node: NodeAddress): boolean {
    return this.ranges.some(({ nodes }) => nodes[0] && nameOf(nodes[0]) === nameOf(node));
  }

  /** Looks, and gives the master of a slot. Rejects where nobody answers, or nobody has it. */
  async locate(slot: number): Promise<NodeAddress> {
    await this.refresh();
    const master = this.masterOf(slot);
    if (!master) {
      throw new Error(`No node of ${this.address} serves slot ${slot}`);
    }
    return master;
  }

  /** Looks anew, unless that was just done. Rejects where no node answers. */
  refresh(): Promise<void> {
    if (performance.now() - this.lookedAt < FRESH_MS) {
      return Promise.resolve();
    }
    this.looking ??= this.look().finally(() => (this.looking = undefined));
    return this.looking;
  }

  private async look(): Promise<void> {
    const candidates = uniqueNodes([...shuffled(this.known), ...shuffled(this.options.seeds)]);
    const failures: unknown[] = [];
    for (let i = 0; i < candidates.length; i += ASKED_AT_ONCE) {
      try {
        this.ranges = await Promise.any(
          candidates.slice(i, i + ASKED_AT_ONCE).map((node) => this.slotsBy(node)),
        );
        this.known = uniqueNodes(this.ranges.flatMap(({ nodes }) => nodes));
        this.lookedAt = performance.now();
        return;
      } catch (error) {
        failures.push(...((error as AggregateError).errors as unknown[]));
      }
    }
    throw new Error(`No node of ${this.address} answers: ${messageOf(failures[0])}`, { cause: failures[0] });
  }

  private async slotsBy(node: NodeAddress): Promise<SlotRange[]> {
    const redis = new Redis({
      ...this.options.redisOptions,
      host: node.host,
      port: node.port,
      lazyConnect: true,
      connectTimeout: ANSWER_WITHIN_MS,
      commandTimeout: ANSWER_WITHIN_MS,
      // ioredis keeps a timer for this long, also for one that was never open.
      disconnectTimeout: 100,
      retryStrategy: () => null,
      // A node that loads its data answers nothing else, and would be waited for.
      enableReadyCheck: false,
      connectionName: 'nestjs-redis-streams:topology',
    });
    // Told by the promises below.
    redis.on('error', () => undefined);
    try {
      await redis.connect();
      return parseSlots(await redis.cluster('SLOTS'), node.host).map(({ first, last, nodes }) => ({
        first,
        last,
        nodes: nodes.map((one) => this.mapped(one)),
      }));
    } finally {
      redis.disconnect();
    }
  }

  private mapped(node: NodeAddress): NodeAddress {
    const { natMap } = this.options;
    const mapped = typeof natMap === 'function' ? natMap(nameOf(node)) : natMap?.[nameOf(node)];
    return mapped ?? node;
  }
}

/** `host:port`. */
export function nameOf({ host, port }: NodeAddress): string {
  return `${host}:${port}`;
}

function uniqueNodes(nodes: readonly NodeAddress[]): NodeAddress[] {
  return [...new Map(nodes.map((node) => [nameOf(node), node])).values()];
}

/** So that not all processes ask the same node. */
function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .sort((one, other) => one.place - other.place)
    .map(({ item }) => item);
}
