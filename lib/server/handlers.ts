import type { MessageHandler } from '@nestjs/microservices';
import type { RetryOptions } from '../options.js';
import { isWildcard, wildcardMeans } from '../protocol/wildcard.js';
import { shardOf } from '../redis/sharding.js';

/** Topics come from outside and may be many; what is forgotten is only looked for again. */
const MAX_REMEMBERED = 10_000;

/** An event handler, and how often it is called for an event. */
export interface EventHandler {
  handle: MessageHandler;
  retry: Required<RetryOptions>;
  /** It is a message handler, called for a request that nobody waits for: it knows nothing of acknowledging. */
  isForRequests?: boolean;
}

/** What a service subscribes to in one way: as a service, or by each of its instances. */
export interface Subscribed {
  /** Patterns of single topics. */
  readonly topics: readonly string[];
  /** Patterns of any number of them. */
  readonly wildcards: readonly string[];
}

/** What a service subscribes to in a shard. */
export interface ShardSubscriptions {
  /** What one of its instances gets. */
  readonly durable: Subscribed;
  /** What each of them gets. */
  readonly broadcast: Subscribed;
}

/** The event handlers of one way of subscribing, by pattern. */
class EventTable {
  readonly exact = new Map<string, EventHandler[]>();
  readonly wildcards = new Map<string, EventHandler[]>();
  private readonly found = new Map<string, readonly EventHandler[] | undefined>();

  add(pattern: string, handler: EventHandler): void {
    const table = isWildcard(pattern) ? this.wildcards : this.exact;
    const handlers = table.get(pattern);
    if (handlers) {
      handlers.push(handler);
    } else {
      table.set(pattern, [handler]);
    }
    this.found.clear();
  }

  /** Always in the same order: a retry names handlers by their places. */
  of(topic: string): readonly EventHandler[] | undefined {
    return this.wildcards.size === 0 ? this.exact.get(topic) : this.ofAny(topic);
  }

  private ofAny(topic: string): readonly EventHandler[] | undefined {
    if (this.found.has(topic)) {
      return this.found.get(topic);
    }
    const own = this.exact.get(topic);
    const others = [...this.wildcards].filter(([wildcard]) => wildcardMeans(wildcard, topic));
    const all = others.length === 0 ? own : [...(own ?? []), ...others.flatMap(([, handlers]) => handlers)];
    if (this.found.size >= MAX_REMEMBERED) {
      this.found.clear();
    }
    this.found.set(topic, all);
    return all;
  }
}

/**
 * Finds handlers by route. Event handlers are kept in a list each, with a result of its own: Nest's way of chaining
 * them (`next`, joined by forkJoin) ends as soon as one completes without a value and cancels the others, and drops
 * events whose pattern has a message handler too.
 */
export class Handlers {
  private readonly requests = new Map<string, MessageHandler>();
  private readonly durable = new EventTable();
  private readonly broadcasts = new EventTable();

  /** @returns whether a handler was replaced: the last one registered wins, as everywhere in Nest */
  addRequest(route: string, handler: MessageHandler): boolean {
    const isReplaced = this.requests.has(route);
    this.requests.set(route, handler);
    return isReplaced;
  }

  /** One more handler of an event, or of all those that a wildcard means: all of them are called. */
  addEvent(pattern: string, handler: EventHandler): void {
    this.durable.add(pattern, handler);
  }

  /** One more handler that each instance calls. */
  addBroadcast(pattern: string, handler: EventHandler): void {
    this.broadcasts.add(pattern, handler);
  }

  request(route: string): MessageHandler | undefined {
    return this.requests.get(route);
  }

  /** The handlers that one instance of the service calls for an event: of its pattern first, then of wildcards. */
  event(route: string): readonly EventHandler[] | undefined {
    return this.durable.of(route);
  }

  /** The handlers that each instance calls for an event. */
  broadcast(route: string): readonly EventHandler[] | undefined {
    return this.broadcasts.of(route);
  }

  /** Whether an event has a handler of its very pattern: those are few, other patterns come from outside. */
  names(route: string): boolean {
    return this.durable.exact.has(route) || this.broadcasts.exact.has(route);
  }

  /** How many patterns have a message handler. */
  get requestCount(): number {
    return this.requests.size;
  }

  /** How many patterns, wildcards among them, have an event handler. */
  get eventCount(): number {
    const { durable, broadcasts } = this;
    const tables = [durable.exact, durable.wildcards, broadcasts.exact, broadcasts.wildcards];
    return new Set(tables.flatMap((table) => [...table.keys()])).size;
  }

  /** Whether there are handlers that each instance calls. */
  get hasBroadcasts(): boolean {
    return this.broadcasts.exact.size + this.broadcasts.wildcards.size > 0;
  }

  /** What the service subscribes to in a shard: topics lie in one of them, a wildcard means topics in all. */
  subscriptionsIn(shard: number, count: number): ShardSubscriptions {
    const ofTable = ({ exact, wildcards }: EventTable): Subscribed => ({
      topics: [...exact.keys()].filter((route) => shardOf(route, count) === shard),
      wildcards: [...wildcards.keys()],
    });
    return { durable: ofTable(this.durable), broadcast: ofTable(this.broadcasts) };
  }
}
