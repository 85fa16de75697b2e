import type { MessageHandler } from '@nestjs/microservices';
import { DeserializationError, RequestCancelledError } from '../errors.js';
import type { AcknowledgeMode } from '../options.js';
import { Bag } from '../util/bag.js';
import { describeError } from '../util/describe-error.js';
import type { Cancellations } from './cancellations.js';
import type { DeadLetterWriter } from './dead-letter-writer.js';
import type { Delivery, RequestDelivery } from './delivery.js';
import type { Lane } from './lane.js';
import type { Pipeline } from './pipeline.js';
import type { Reporter } from './reporter.js';
import {
  RequestExecution,
  type Doom,
  type RequestExecutionDeps,
  type RequestListener,
} from './request-execution.js';
import type { Settlement } from './settlement.js';

/** What Nest's transports answer to a pattern that has no handler (NO_MESSAGE_HANDLER). */
const NO_HANDLER = 'There is no matching message handler defined in the remote service.';

/** What Nest answers for an error that is not an RpcException. */
const INTERNAL_ERROR = { status: 'error', message: 'Internal server error' };

/** What a request runner is made from. */
export interface RequestRunnerDeps {
  execution: Omit<RequestExecutionDeps, 'listener'>;
  pipeline: Pipeline;
  settlement: Settlement;
  deadLetters: DeadLetterWriter;
  cancellations: Cancellations;
  reporter: Reporter;
  acknowledge: AcknowledgeMode;
  handlerOf: (pattern: string) => MessageHandler | undefined;
}

/** Takes requests from their entry to their last reply. */
export class RequestRunner implements RequestListener {
  private readonly executionDeps: RequestExecutionDeps;
  private readonly running = new Bag<RequestExecution>();

  constructor(private readonly deps: RequestRunnerDeps) {
    this.executionDeps = { ...deps.execution, listener: this };
  }

  /** The requests whose handlers run. */
  get executions(): Iterable<RequestExecution> {
    return this.running;
  }

  /** Runs the handler, unless nobody waits for the answer any more. */
  start(delivery: RequestDelivery, lane: Lane): void {
    const now = performance.now();
    if (this.isForNobody(delivery, now)) {
      this.acknowledge(delivery);
      lane.release();
      return;
    }
    const execution = this.open(delivery, lane, now);
    const handler = this.deps.handlerOf(delivery.entry.pattern);
    if (handler) {
      this.handle(execution, handler);
    } else {
      execution.responder.error(NO_HANDLER);
      execution.end();
    }
  }

  /** Tells the caller of an error, and then makes the request a dead letter. */
  refuse(delivery: RequestDelivery, doom: Doom, lane: Lane): void {
    const execution = this.open(delivery, lane, performance.now());
    execution.doom = doom;
    execution.responder.error(doom.error);
    execution.end();
  }

  /** Stops a request, if its handler runs here. May be heard of more than once. */
  cancel(requestId: string): void {
    for (const execution of this.running) {
      if (execution.requestId === requestId && !execution.isAborted) {
        this.reportCancelled(execution.delivery, true);
        execution.lifetime.abort(new RequestCancelledError(execution.delivery.entry.pattern));
      }
    }
  }

  requestAnswered(lane: Lane): void {
    lane.release();
  }

  requestSettled({ delivery, doom }: RequestExecution): void {
    if (doom) {
      void this.deps.deadLetters.add(delivery, doom.reason, doom.error);
    } else {
      this.acknowledge(delivery);
    }
  }

  private isForNobody(delivery: RequestDelivery, now: number): boolean {
    const { reporter, cancellations } = this.deps;
    if (this.isLate(delivery, now)) {
      reporter.note('expired', delivery);
      return true;
    }
    if (cancellations.has(delivery.entry.id)) {
      this.reportCancelled(delivery, false);
      return true;
    }
    return false;
  }

  private open(delivery: RequestDelivery, lane: Lane, now: number): RequestExecution {
    const codec = this.deps.pipeline.decoder.codecOf(delivery.entry);
    return new RequestExecution(delivery, codec, lane, now, this.executionDeps);
  }

  private handle(execution: RequestExecution, handler: MessageHandler): void {
    this.running.add(execution);
    this.deps.pipeline
      .run(execution, (data, context) => execution.answer(handler, data, context))
      .then(
        () => this.ended(execution),
        (error: unknown) => {
          execution.failure = error;
          execution.responder.error(this.toRequestError(error, execution.delivery.entry.pattern));
          this.ended(execution);
        },
      );
  }

  private ended(execution: RequestExecution): void {
    this.running.remove(execution);
    const { hooks } = this.deps.reporter;
    if (hooks.listens('handled')) {
      const { delivery, failure: error } = execution;
      const now = performance.now();
      const isForNobody = execution.isAborted || this.isLate(delivery, now);
      hooks.report('handled', {
        ...this.deps.reporter.about(delivery),
        outcome: isForNobody ? 'aborted' : error === undefined ? 'succeeded' : 'failed',
        duration: now - execution.startedAt,
        ...(error === undefined ? {} : { error }),
      });
    }
    execution.end();
  }

  private isLate({ deadline }: Delivery, now: number): boolean {
    return deadline !== undefined && this.executionDeps.clock.at(now) >= deadline;
  }

  /** Not where the entry was acknowledged on receipt. */
  private acknowledge(delivery: Delivery): void {
    if (this.deps.acknowledge !== 'on-receipt') {
      this.deps.settlement.acknowledge(delivery);
    }
  }

  private toRequestError(error: unknown, pattern: string): unknown {
    if (error instanceof DeserializationError) {
      return error;
    }
    // Nest turns what a handler throws into a reply itself, so this is the failure of a hook, a deserializer or the like.
    this.deps.reporter.errors.report(
      'Failures outside of handlers',
      `Handling '${pattern}' failed outside of its handler: ${describeError(error)}`,
    );
    return INTERNAL_ERROR;
  }

  private reportCancelled(delivery: Delivery, wasRunning: boolean): void {
    const { hooks } = this.deps.reporter;
    if (hooks.listens('cancelled')) {
      hooks.report('cancelled', { ...this.deps.reporter.about(delivery), wasRunning });
    }
  }
}
