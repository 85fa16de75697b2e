import type { MessageHandler } from '@nestjs/microservices';
import { isObservable, type Observable } from 'rxjs';
import { CallerGoneError, DeadlineExceededError } from '../errors.js';
import type { Codec } from '../protocol/codec.js';
import type { DeadLetterReason } from '../protocol/dead-letter.js';
import type { RedisClock } from '../redis/clock.js';
import { isPromise } from '../util/promise.js';
import type { RedisStreamsContext } from './context.js';
import type { Delivery, RequestDelivery } from './delivery.js';
import { Execution } from './execution.js';
import type { Lane } from './lane.js';
import type { ReplyOutcome } from './reply-writer.js';
import { Responder, type ResponderDeps, type ResponderListener } from './responder.js';

/** Why a request is a dead letter once its caller has been told. */
export interface Doom {
  reason: DeadLetterReason;
  error: unknown;
}

/** Who is told what becomes of a request. */
export interface RequestListener {
  /** It holds up nobody any longer. */
  requestAnswered(lane: Lane): void;
  /** Its last reply is stored, or nobody waits for it. */
  requestSettled(execution: RequestExecution): void;
}

/** What the executions of a server share. */
export interface RequestExecutionDeps {
  clock: RedisClock;
  onTeardownError: (error: unknown, delivery: Delivery) => void;
  responder: ResponderDeps;
  listener: RequestListener;
}

/** One request while its handler runs, and until its reply is stored. */
export class RequestExecution extends Execution implements ResponderListener {
  readonly requestId: string;
  readonly client: string;
  readonly responder: Responder;
  /** Set where the entry becomes a dead letter instead of being acknowledged. */
  doom: Doom | undefined;
  /** What its handler failed with, which its caller is told. */
  failure: unknown;

  /** @param startedAt `performance.now()` */
  constructor(
    delivery: RequestDelivery,
    codec: Codec,
    private readonly lane: Lane,
    readonly startedAt: number,
    private readonly deps: RequestExecutionDeps,
  ) {
    super(delivery, deps.clock, deps.onTeardownError);
    const { id, reply } = delivery.entry;
    this.requestId = id;
    this.client = reply;
    this.responder = new Responder(delivery, id, reply, codec, deps.responder, this);
  }

  /**
   * Runs the message handler and gives what it returns to the responder. A plain value or a promise of one never meets
   * rxjs. Resolves when the handler's last value has been given. Not an async function: see `Pipeline.run()`.
   */
  answer(handler: MessageHandler, data: unknown, context: RedisStreamsContext): Promise<void> {
    const result: unknown = handler(data, context);
    return isPromise(result)
      ? Promise.resolve(result).then((value) => this.answerWith(value))
      : Promise.resolve(this.answerWith(result));
  }

  answered(): void {
    this.deps.listener.requestAnswered(this.lane);
  }

  settled(outcome: ReplyOutcome): void {
    this.deps.listener.requestSettled(this);
    if (outcome !== 'stored') {
      const { pattern } = this.delivery.entry;
      this.lifetime.abort(
        outcome === 'gone' ? new CallerGoneError(pattern) : new DeadlineExceededError(pattern),
      );
    }
  }

  stopped(reason: Error): void {
    this.lifetime.abort(reason);
  }

  override revoke(reason: Error): void {
    this.responder.revoke();
    super.revoke(reason);
  }

  private answerWith(result: unknown): Promise<void> | undefined {
    if (isObservable(result)) {
      return this.relay(result);
    }
    if (this.isAborted) {
      // It ended because it was told to: what it gave is no answer, and must not race its caller's timeout.
      this.responder.expire();
    } else {
      this.responder.value(result);
    }
    return undefined;
  }

  private async relay(values: Observable<unknown>): Promise<void> {
    const { responder } = this;
    try {
      const hasCompleted = await this.follow(values, (value) => {
        responder.next(value);
        return !responder.hasEnded;
      });
      if (hasCompleted) {
        responder.complete();
      } else if (!responder.hasEnded) {
        responder.expire();
      }
    } catch (error) {
      this.failure = error;
      responder.error(error);
    }
  }
}
