import { BaseRpcContext } from '@nestjs/microservices';
import { ConfigurationError } from '../errors.js';
import type { MessageHeaders } from '../protocol/entry.js';
import type { RedisClock } from '../redis/clock.js';
import { entryTime } from '../redis/replies.js';
import type { Delivery } from './delivery.js';
import type { Lifetime } from './lifetime.js';
import type { Verdict } from './verdict.js';

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
    /** Events only. */
    private readonly verdict?: Verdict,
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

  /** Whether each instance of the service is given this event, as `@EventPattern(pattern, { broadcast: true })` asks. */
  get isBroadcast(): boolean {
    return this.delivery.isBroadcast === true;
  }

  /** How often the message has been delivered, this time included. */
  get deliveryCount(): number {
    return this.delivery.deliveries;
  }

  /**
   * Aborts when the handler's work is for nobody: at the request's deadline, when its caller has unsubscribed or is
   * gone, when another instance has taken the message over, and when the instance is closed and has waited
   * `shutdownTimeout`. Its `reason` is one of this package's errors.
   */
  get signal(): AbortSignal {
    return this.execution.lifetime.signal;
  }

  /**
   * Acknowledges the event, with `acknowledge: 'manual'`: at once, or, where several handlers have it, when all have
   * called this. It may be called after the handler has returned; until then the event holds a slot.
   * Throws a `ConfigurationError` for a request, for a broadcast, and with another `acknowledge`.
   */
  ack(): void {
    if (this.isBroadcast) {
      throw new ConfigurationError(
        `context.ack() is for events that one instance handles; '${this.pattern}' is a broadcast here, which nobody waits for.`,
      );
    }
    this.verdictOf('ack').ack();
  }

  /**
   * Has the event delivered again when its handlers have ended: as `throw new RetryLater(delay)` does, or, without a
   * delay, after the pause of the option `retry`. Throws a `ConfigurationError` for a request, and for what is no time.
   * @param delay milliseconds
   */
  retry(delay?: number): void {
    this.verdictOf('retry').retry(delay);
  }

  /**
   * Makes the event a dead letter when its handlers have ended, as `throw new DeadLetter(reason)` does. Throws a
   * `ConfigurationError` for a request.
   */
  deadLetter(reason: string): void {
    this.verdictOf('deadLetter').deadLetter(reason);
  }

  /** The same for another handler of the event. @internal */
  withVerdict(verdict: Verdict): RedisStreamsContext {
    return new RedisStreamsContext(this.delivery, this.instanceInfo, this.clock, this.execution, verdict);
  }

  private verdictOf(method: string): Verdict {
    if (!this.verdict) {
      throw new ConfigurationError(
        `context.${method}() is for events; '${this.pattern}' is a request, which is settled by its reply.`,
      );
    }
    return this.verdict;
  }

  /** The headers, under the name that Nest 12 gives a packet's metadata; `undefined` where there are none. */
  getMetadata(): MessageHeaders | undefined {
    return this.delivery.entry.headers;
  }

  private get delivery(): Delivery {
    return this.args[0];
  }
}
