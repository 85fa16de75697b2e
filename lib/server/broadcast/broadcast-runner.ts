import { ConnectionClosedError } from '../../errors.js';
import type { StreamEntry } from '../../redis/replies.js';
import type { Shard } from '../../redis/shard.js';
import { Bag } from '../../util/bag.js';
import { describeError } from '../../util/describe-error.js';
import { Gate } from '../../util/gate.js';
import { openDelivery, type Delivery } from '../delivery.js';
import { EventExecution } from '../event-execution.js';
import { outcomeOf, performEvent, reportHandled } from '../event-work.js';
import type { EventOutcome } from '../event-outcome.js';
import { originalErrorOf } from '../exception-filter.js';
import type { Handlers } from '../handlers.js';
import type { Lane, Start } from '../lane.js';
import type { Pipeline } from '../pipeline.js';
import type { Reporter } from '../reporter.js';

/** What a broadcast runner is made from. */
export interface BroadcastRunnerDeps {
  shard: Shard;
  handlers: Handlers;
  pipeline: Pipeline;
  /** Where broadcasts are handled. */
  lane: Lane;
  /** How many may wait for another attempt before no more are read. */
  limit: number;
  reporter: Reporter;
}

/**
 * Takes what an instance reads by itself from its entry to its end: handled, or tried again from memory as often as its
 * handlers ask for, or dropped, which is reported. Redis knows nothing of it: nobody takes it over.
 */
export class BroadcastRunner {
  private readonly running = new Bag<EventExecution>();
  private readonly waiting = new Map<Delivery, NodeJS.Timeout>();
  private readonly room = new Gate(true);
  private isHeld = false;
  private isRevoked = false;

  constructor(private readonly deps: BroadcastRunnerDeps) {}

  /** Those whose handlers run. */
  get executions(): Iterable<EventExecution> {
    return this.running;
  }

  /** Resolves when more may wait; `undefined` where they may. */
  whenFree(): Promise<void> | undefined {
    return this.room.wait();
  }

  take(stream: string, { id, fields = [] }: StreamEntry): void {
    const delivery = openDelivery(stream, id, fields, false);
    delivery.isBroadcast = true;
    this.deps.reporter.note('read', delivery);
    this.deps.lane.push(delivery, this.start);
  }

  /** Tries nothing again any more. */
  hold(): void {
    this.isHeld = true;
    const given = [...this.waiting.keys()];
    for (const delivery of given) {
      this.endWaiting(delivery);
      this.drop(delivery, new ConnectionClosedError('The server is closing.'));
    }
  }

  /** Ends what still runs. */
  revoke(reason: Error): void {
    this.isRevoked = true;
    for (const execution of this.running) {
      execution.revoke(reason);
    }
  }

  private readonly start: Start = (delivery, lane) => {
    this.handle(delivery)
      // A logger or listener of the user's has thrown, perhaps the one that would tell of it.
      .catch((error: unknown) => process.emitWarning(describeError(error)))
      .finally(() => lane.release());
  };

  private async handle(delivery: Delivery): Promise<void> {
    const { shard, pipeline, reporter } = this.deps;
    const { pattern } = delivery.entry;
    const handlers = this.deps.handlers.broadcast(pattern);
    if (this.isRevoked) {
      return;
    }
    if (delivery.fault || !handlers) {
      this.drop(
        delivery,
        delivery.fault ?? new Error(`The service has no broadcast handler for '${pattern}'.`),
      );
      return;
    }
    const execution = new EventExecution(delivery, shard.clock, this.onTeardownError, false);
    this.running.add(execution);
    const failures = await performEvent(pipeline, execution, handlers);
    execution.end();
    this.running.remove(execution);
    reportHandled(reporter, execution, failures);
    const outcome = outcomeOf(delivery, handlers, failures);
    if (outcome.kind === 'retry' && !this.isHeld) {
      this.retry(delivery, outcome);
    } else if (outcome.kind !== 'succeeded') {
      this.drop(delivery, outcome.error);
    }
  }

  private retry(delivery: Delivery, { delay, error, retry }: Extract<EventOutcome, { kind: 'retry' }>): void {
    const { reporter, lane, limit } = this.deps;
    if (reporter.hooks.listens('retried')) {
      reporter.hooks.report('retried', { ...reporter.about(delivery), delay, error });
    }
    reporter.warnings.report(
      this.kindOf('Failed broadcasts', delivery),
      `${describe(delivery)} failed at attempt ${delivery.deliveries} and is tried again in ${delay} ms: ${describeError(error)}`,
    );
    const timer = setTimeout(() => {
      this.endWaiting(delivery);
      delivery.deliveries++;
      delivery.retry = retry;
      lane.push(delivery, this.start);
    }, delay);
    this.waiting.set(delivery, timer);
    if (this.waiting.size >= limit) {
      this.room.shut();
    }
  }

  private endWaiting(delivery: Delivery): void {
    clearTimeout(this.waiting.get(delivery));
    this.waiting.delete(delivery);
    if (this.waiting.size < this.deps.limit) {
      this.room.open();
    }
  }

  private drop(delivery: Delivery, error: unknown): void {
    const { reporter } = this.deps;
    const original = originalErrorOf(error);
    reporter.errors.report(
      this.kindOf('Dropped broadcasts', delivery),
      `${describe(delivery)} was not handled by this instance, at attempt ${delivery.deliveries}, and is dropped: ${describeError(original)}`,
    );
    reporter.hooks.report('broadcastDropped', { ...reporter.about(delivery), error: original });
  }

  /** Patterns that have a handler of their own are few; others come from outside. */
  private kindOf(kind: string, { entry }: Delivery): string {
    return this.deps.handlers.names(entry.pattern) ? `${kind} '${entry.pattern}'` : kind;
  }

  private readonly onTeardownError = (error: unknown, { entry }: Delivery): void => {
    this.deps.reporter.errors.report(
      'Failed teardowns',
      `The broadcast handler of '${entry.pattern}' failed while it was being stopped: ${describeError(error)}`,
    );
  };
}

function describe({ entry, id, stream }: Delivery): string {
  return `The broadcast '${entry.pattern}' (entry ${id} of '${stream}')`;
}
