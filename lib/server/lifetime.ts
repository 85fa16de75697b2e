/** Timers of Node are 32-bit; a deadline further away than this (24 days) does not abort anything. */
const MAX_TIMER_MS = 2 ** 31 - 1;

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

  /** @param remaining milliseconds until the deadline, asked when a timer is first needed; `undefined`: there is none */
  constructor(
    private readonly remaining: () => number | undefined,
    private readonly deadlineReason: () => Error,
  ) {}

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
    const remaining = this.isOver || this.timer ? undefined : this.remaining();
    if (remaining !== undefined && remaining <= MAX_TIMER_MS) {
      this.timer = setTimeout(() => this.abort(this.deadlineReason()), Math.max(0, remaining));
    }
  }

  private clearTimer(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
