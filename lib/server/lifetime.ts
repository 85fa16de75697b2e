import { DeadlineExceededError } from '../errors.js';
import type { RedisClock } from '../redis/clock.js';
import { MAX_TIMER_MS } from '../util/time.js';
import type { Delivery } from './delivery.js';

/**
 * How long a message's handlers may go on. Aborted at the request's deadline, or when the instance stops waiting for them. Costs
 * nothing until somebody asks for the signal or wants to be told.
 */
export class Lifetime {
  private controller: AbortController | undefined;
  private timer: NodeJS.Timeout | undefined;
  private reason: Error | undefined;
  private isOver = false;
  private listeners: (() => void)[] | undefined;

  constructor(
    private readonly delivery: Pick<Delivery, 'deadline' | 'entry'>,
    private readonly clock: RedisClock,
  ) {}

  get isAborted(): boolean {
    return this.reason !== undefined;
  }

  get signal(): AbortSignal {
    if (!this.controller) {
      this.controller = new AbortController();
      if (this.reason) {
        this.controller.abort(this.reason);
      } else {
        this.startTimer();
      }
    }
    return this.controller.signal;
  }

  /** Tells `listener`, once, when the handlers are to stop. */
  whenAborted(listener: () => void): void {
    if (this.reason) {
      listener();
      return;
    }
    (this.listeners ??= []).push(listener);
    this.startTimer();
  }

  abort(reason: Error): void {
    if (this.isOver || this.reason) {
      return;
    }
    this.reason = reason;
    this.clearTimer();
    this.controller?.abort(reason);
    const { listeners } = this;
    this.listeners = undefined;
    for (const listener of listeners ?? []) {
      listener();
    }
  }

  /** The handlers have ended: nothing is aborted any more. */
  end(): void {
    this.isOver = true;
    this.listeners = undefined;
    this.clearTimer();
  }

  private startTimer(): void {
    const { deadline, entry } = this.delivery;
    if (this.isOver || this.timer || deadline === undefined) {
      return;
    }
    const remaining = deadline - this.clock.now();
    if (remaining <= MAX_TIMER_MS) {
      this.timer = setTimeout(
        () => this.abort(new DeadlineExceededError(entry.pattern)),
        Math.max(0, Math.ceil(remaining)),
      );
    }
  }

  private clearTimer(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
