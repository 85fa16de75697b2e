import { isObservable } from 'rxjs';
import { ConnectionClosedError } from '../errors.js';
import type { RedisClock } from '../redis/clock.js';
import type { RedisStreamsContext } from './context.js';
import type { Delivery } from './delivery.js';
import type { FailedHandler } from './event-outcome.js';
import { Execution } from './execution.js';
import type { EventHandler } from './handlers.js';
import { Verdict } from './verdict.js';

/** One event while its handlers run: each has a context, a verdict and a result of its own. */
export class EventExecution extends Execution {
  /** `performance.now()` when it was begun. */
  readonly startedAt = performance.now();
  /** That of the first handler; made before the others, since the first context is made of it. */
  readonly firstVerdict: Verdict;
  private readonly verdicts: Verdict[];
  private readonly failures: FailedHandler[] = [];
  private acknowledged: (() => void) | undefined;

  /** @param isManual whether each handler has to call `ack()` */
  constructor(
    delivery: Delivery,
    clock: RedisClock,
    onTeardownError: (error: unknown, delivery: Delivery) => void,
    private readonly isManual: boolean,
  ) {
    super(delivery, clock, onTeardownError);
    this.firstVerdict = new Verdict(isManual);
    this.verdicts = [this.firstVerdict];
  }

  /** Whether every handler has called `ack()`: the event is settled then, even while they still run. */
  get isAcknowledged(): boolean {
    return this.verdicts.every(({ wasAcknowledged }) => wasAcknowledged);
  }

  /** Calls back when the last handler has called `ack()`. */
  onAcknowledged(listener: () => void): void {
    this.acknowledged = listener;
  }

  /**
   * Runs those of the handlers that are to run, at the same time; resolves, when all have ended and said what is to be
   * said, to those that failed.
   * @param first the context of the first of them
   */
  async perform(
    handlers: readonly EventHandler[],
    data: unknown,
    first: RedisStreamsContext,
  ): Promise<readonly FailedHandler[]> {
    const places = (this.delivery.retry?.handlers ?? [...handlers.keys()]).filter((place) => handlers[place]);
    while (this.verdicts.length < places.length) {
      this.verdicts.push(new Verdict(this.isManual));
    }
    const running = places.map((place, i) => {
      const verdict = this.verdicts[i]!;
      const context = i === 0 ? first : first.withVerdict(verdict);
      return this.handle(place, handlers[place]!, data, context, verdict);
    });
    await (running.length === 1 ? running[0] : Promise.all(running));
    return this.failures;
  }

  /** An `ack()` that comes after this says nothing: the event may be under way again. */
  override end(): void {
    this.acknowledged = undefined;
    super.end();
  }

  private async handle(
    place: number,
    handler: EventHandler,
    data: unknown,
    context: RedisStreamsContext,
    verdict: Verdict,
  ): Promise<void> {
    verdict.onGiven(() => this.onGiven());
    try {
      const result: unknown = await handler.handle(data, context);
      if (isObservable(result) && !(await this.follow(result, () => true))) {
        throw new ConnectionClosedError('The handler was stopped before it had finished.');
      }
      if (!verdict.isGiven) {
        await this.givenOrAborted(verdict);
      }
      if (verdict.error) {
        throw verdict.error;
      }
    } catch (error) {
      // What it has said by its context counts, though it throws besides.
      this.failures.push({ handler: place, error: verdict.error ?? error });
    }
  }

  private onGiven(): void {
    if (this.isAcknowledged) {
      this.acknowledged?.();
      this.acknowledged = undefined;
    }
  }

  /** A slot is held as long as an event is not acknowledged: what is open stays bounded. */
  private givenOrAborted(verdict: Verdict): Promise<void> {
    return new Promise((resolve) => {
      verdict.onGiven(() => {
        this.onGiven();
        resolve();
      });
      this.lifetime.whenAborted(resolve);
    });
  }
}
