import { ConfigurationError } from '../errors.js';
import { DeadLetter, RetryLater } from './outcomes.js';

/** What a handler has said, by its context, of the event it was given. */
export class Verdict {
  private isAcknowledged = false;
  private saidError: Error | undefined;
  private listener: (() => void) | undefined;

  /** @param isManual whether the event waits for `ack()` */
  constructor(private readonly isManual: boolean) {}

  /** Whether the handler's end is all there is to wait for. */
  get isGiven(): boolean {
    return !this.isManual || this.isAcknowledged || this.saidError !== undefined;
  }

  get wasAcknowledged(): boolean {
    return this.isAcknowledged;
  }

  /** Why the event is not handled although its handler did not throw. */
  get error(): Error | undefined {
    return this.saidError;
  }

  ack(): void {
    if (!this.isManual) {
      throw new ConfigurationError(
        "context.ack() needs the option acknowledge: 'manual' of RedisStreamsServer; otherwise an event is acknowledged when its handlers have succeeded.",
      );
    }
    if (!this.saidError) {
      this.isAcknowledged = true;
      this.listener?.();
    }
  }

  retry(delay: number | undefined): void {
    this.say(
      delay === undefined ? new Error('The handler asked for another delivery.') : new RetryLater(delay),
    );
  }

  deadLetter(reason: string): void {
    this.say(new DeadLetter(reason));
  }

  /** Calls back, once or more, when something is said. */
  onGiven(listener: () => void): void {
    this.listener = listener;
  }

  private say(error: Error): void {
    if (!this.isAcknowledged) {
      this.saidError ??= error;
      this.listener?.();
    }
  }
}
