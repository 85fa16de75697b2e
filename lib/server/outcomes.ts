import { RpcException } from '@nestjs/microservices';
import { ConfigurationError } from '../errors.js';
import { MAX_TIMER_MS } from '../util/time.js';

/** From the global registry, so that the ESM and the CommonJS build of this package know each other's. */
const RETRY_LATER = Symbol.for('nestjs-redis-streams:retry-later');
const DEAD_LETTER = Symbol.for('nestjs-redis-streams:dead-letter');

/**
 * What a handler throws to say what becomes of its message. An `RpcException` that is its own error: anything else
 * that is thrown reaches a transport as `Internal server error`, and an exception's error as it is.
 */
abstract class Outcome extends RpcException {
  constructor(message: string, options?: ErrorOptions) {
    super(message);
    this.name = new.target.name;
    if (options && 'cause' in options) {
      this.cause = options.cause;
    }
  }

  override getError(): this {
    return this;
  }
}

/**
 * Thrown from an event handler (or a guard, pipe or interceptor before it): the event is delivered again after this
 * time, whatever the backoff says. It counts as a delivery: after the last one the event becomes a dead letter.
 *
 *     throw new RetryLater(30_000, { cause: error });
 */
export class RetryLater extends Outcome {
  readonly [RETRY_LATER] = true;
  /** How long the event waits, in whole milliseconds. */
  readonly delay: number;

  /**
   * @param ms milliseconds, 0 to 2,147,483,647; fractions are rounded up
   * @throws {ConfigurationError} for anything else
   */
  constructor(ms: number, options?: ErrorOptions) {
    if (!(typeof ms === 'number' && ms >= 0 && ms <= MAX_TIMER_MS)) {
      throw new ConfigurationError(
        `new RetryLater(ms) takes milliseconds from 0 to ${MAX_TIMER_MS}, not ${typeof ms === 'number' ? ms : typeof ms}.`,
        options,
      );
    }
    super(`The event is to be delivered again in ${Math.ceil(ms)} ms.`, options);
    this.delay = Math.ceil(ms);
  }
}

/**
 * Thrown from an event handler (or a guard, pipe or interceptor before it): the event becomes a dead letter at once,
 * since delivering it again would not help.
 *
 *     throw new DeadLetter(`There is no product '${sku}'`);
 */
export class DeadLetter extends Outcome {
  readonly [DEAD_LETTER] = true;

  /** @param reason for those who read the dead letters; the letter's message */
  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options);
  }

  /** Why the event cannot be handled. */
  get reason(): string {
    return this.message;
  }
}

/** Whether an error, of whichever build of this package, is a `RetryLater`. */
export function isRetryLater(error: unknown): error is RetryLater {
  return typeof error === 'object' && error !== null && RETRY_LATER in error;
}

/** Whether an error, of whichever build of this package, is a `DeadLetter`. */
export function isDeadLetter(error: unknown): error is DeadLetter {
  return typeof error === 'object' && error !== null && DEAD_LETTER in error;
}
