import { BaseRpcContext } from '@nestjs/microservices';
import type { MessageHeaders } from '../protocol/entry.js';
import type { RedisClock } from '../redis/clock.js';
import { entryTime } from '../redis/replies.js';
import type { Delivery } from './delivery.js';
import type { Lifetime } from './lifetime.js';

/** Who handles a message. */
export interface Instance {
  service: string;
  /** `<host>-<pid>-<random>`; also the consumer's name in Redis. */
  id: string;
}

const NO_HEADERS: MessageHeaders = Object.freeze({});

/** What a handler can learn of its message: `@Ctx() context: RedisStreamsContext`. */
export class RedisStreamsContext extends BaseRpcContext<[delivery: Delivery]> {
  constructor(
    delivery: Delivery,
    private readonly instanceInfo: Instance,
    private readonly clock: RedisClock,
    private readonly execution: { readonly lifetime: Lifetime },
  ) {
    super([delivery]);
  }

  /** The pattern, as a route: a string as it is, an object as its sorted JSON. */
  get pattern(): string {
    return this.delivery.entry.pattern;
  }

  /** The request's id; `undefined` for an event. */
  get requestId(): string | undefined {
    return this.delivery.entry.id;
  }

  /** The values that the sender put beside the data. */
  get headers(): MessageHeaders {
    return this.delivery.entry.headers ?? NO_HEADERS;
  }

  /** The entry's id in its stream. */
  get entryId(): string {
    return this.delivery.id;
  }

  /** The stream the entry was read from. */
  get stream(): string {
    return this.delivery.stream;
  }

  /** When Redis stored the message, by Redis' clock. */
  get publishedAt(): Date {
    return new Date(entryTime(this.delivery.id));
  }

  /** When the caller stops waiting, by Redis' clock; `undefined` for an event, or a request without a limit. */
  get deadline(): Date | undefined {
    return this.delivery.deadline === undefined ? undefined : new Date(this.delivery.deadline);
  }

  /** Whole milliseconds until the deadline, never below 0; `undefined` where there is none. */
  get remainingTime(): number | undefined {
    return this.delivery.deadline === undefined
      ? undefined
      : Math.max(0, Math.floor(this.delivery.deadline - this.clock.now()));
  }

  /** The service whose handler this is. */
  get service(): string {
    return this.instanceInfo.service;
  }

  /** The instance that runs the handler. */
  get instance(): string {
    return this.instanceInfo.id;
  }

  /** How often the message has been delivered, this time included. */
  get deliveryCount(): number {
    return this.delivery.deliveries;
  }

  /** Aborts at the deadline, and when the instance is closed and has waited `shutdownTimeout` for this handler. */
  get signal(): AbortSignal {
    return this.execution.lifetime.signal;
  }

  /** The headers, under the name that Nest 12 gives a packet's metadata; `undefined` where there are none. */
  getMetadata(): MessageHeaders | undefined {
    return this.delivery.entry.headers;
  }

  private get delivery(): Delivery {
    return this.args[0];
  }
}
