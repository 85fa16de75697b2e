import type { AcknowledgeMode } from '../options.js';
import type { RedisClock } from '../redis/clock.js';
import { Bag } from '../util/bag.js';
import { describeError } from '../util/describe-error.js';
import type { DeadLetterWriter } from './dead-letter-writer.js';
import type { Delivery } from './delivery.js';
import { EventExecution } from './event-execution.js';
import type { EventOutcome, FailedHandler } from './event-outcome.js';
import { outcomeOf, performEvent, reportHandled } from './event-work.js';
import { originalErrorOf } from './exception-filter.js';
import type { EventHandler } from './handlers.js';
import type { Lane } from './lane.js';
import type { Pipeline } from './pipeline.js';
import type { Reporter } from './reporter.js';
import type { RetryQueue } from './retry-queue.js';
import type { Settlement } from './settlement.js';

/** What an event runner is made from. */
export interface EventRunnerDeps {
  clock: RedisClock;
  pipeline: Pipeline;
  settlement: Settlement;
  retries: RetryQueue;
  deadLetters: DeadLetterWriter;
  reporter: Reporter;
  acknowledge: AcknowledgeMode;
  /** None where the service has no handler for it. */
  handlersOf: (delivery: Delivery) => readonly EventHandler[];
  /** Whether a pattern is one of the few that have a handler of their own. */
  names: (pattern: string) => boolean;
  onTeardownError: (error: unknown, delivery: Delivery) => void;
}

/** Takes events from their entry to what becomes of them: acknowledged, delivered again, or a dead letter. */
export class EventRunner {
  private readonly running = new Bag<EventExecution>();

  constructor(private readonly deps: EventRunnerDeps) {}

  /** The events whose handlers run, or that wait for `ack()`. */
  get executions(): Iterable<EventExecution> {
    return this.running;
  }

  start(delivery: Delivery, lane: Lane): void {
    this.handle(delivery)
      // A logger or listener of the user's has thrown, perhaps the one that would tell of it.
      .catch((error: unknown) => process.emitWarning(describeError(error)))
      .finally(() => lane.release());
  }

  /** Resolves when Redis knows what became of a failure: until then it keeps its slot, so that such events stay bounded. */
  private async handle(delivery: Delivery): Promise<void> {
    const { clock, acknowledge, onTeardownError, pipeline, settlement, reporter } = this.deps;
    const handlers = this.deps.handlersOf(delivery);
    if (handlers.length === 0) {
      await this.refuse(delivery);
      return;
    }
    const isManual = acknowledge === 'manual' && !handlers.some(({ isForRequests }) => isForRequests);
    const execution = new EventExecution(delivery, clock, onTeardownError, isManual);
    this.running.add(execution);
    execution.onAcknowledged(() => {
      if (!execution.isRevoked) {
        settlement.acknowledge(delivery);
      }
    });
    const failures = await performEvent(pipeline, execution, handlers);
    execution.end();
    this.running.remove(execution);
    reportHandled(reporter, execution, failures);
    if (!execution.isRevoked) {
      await this.settle(execution, handlers, failures);
    }
  }

  /** Nobody here knows its pattern. */
  private async refuse(delivery: Delivery): Promise<void> {
    const error = new Error(`The service has no handler for '${delivery.entry.pattern}'.`);
    if (this.deps.acknowledge === 'on-receipt') {
      this.reportLate(delivery, [{ handler: 0, error }]);
    } else {
      await this.deps.deadLetters.add(delivery, 'no-handler', error);
    }
  }

  /** @returns a promise where Redis has to be waited for */
  private settle(
    execution: EventExecution,
    handlers: readonly EventHandler[],
    failures: readonly FailedHandler[],
  ): Promise<void> | undefined {
    const { delivery } = execution;
    const { acknowledge, settlement } = this.deps;
    const isSettled = acknowledge === 'on-receipt' || (acknowledge === 'manual' && execution.isAcknowledged);
    if (isSettled) {
      this.reportLate(delivery, failures);
      return undefined;
    }
    const outcome = outcomeOf(delivery, handlers, failures);
    if (outcome.kind === 'succeeded') {
      settlement.acknowledge(delivery);
      return undefined;
    }
    return outcome.kind === 'retry'
      ? this.retry(delivery, outcome)
      : this.deps.deadLetters.add(delivery, outcome.reason, outcome.error);
  }

  private async retry(
    delivery: Delivery,
    { delay, error, retry }: Extract<EventOutcome, { kind: 'retry' }>,
  ): Promise<void> {
    const { reporter, retries } = this.deps;
    if (!(await retries.add(delivery, delay, retry))) {
      return;
    }
    if (reporter.hooks.listens('retried')) {
      reporter.hooks.report('retried', { ...reporter.about(delivery), delay, error });
    }
    reporter.warnings.report(
      this.kindOf('Failed events', delivery),
      `Event '${delivery.entry.pattern}' (entry ${delivery.id} of '${delivery.stream}') failed at delivery ` +
        `${delivery.deliveries} and is delivered again in ${delay} ms: ${describeError(error)}`,
    );
  }

  /** The failure of an event that had been acknowledged before. */
  private reportLate(delivery: Delivery, [failure]: readonly FailedHandler[]): void {
    if (failure) {
      this.deps.reporter.errors.report(
        this.kindOf('Failed events', delivery),
        `Event '${delivery.entry.pattern}' (entry ${delivery.id} of '${delivery.stream}') failed and is lost, ` +
          `since it was acknowledged ${this.deps.acknowledge === 'manual' ? 'before' : 'on receipt'}: ${describeError(originalErrorOf(failure.error))}`,
      );
    }
  }

  /** Patterns that have a handler of their own are few; others come from outside. */
  private kindOf(kind: string, { entry }: Delivery): string {
    return this.deps.names(entry.pattern) ? `${kind} '${entry.pattern}'` : kind;
  }
}
