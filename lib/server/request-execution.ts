import type { MessageHandler } from '@nestjs/microservices';
import { isObservable, type Observable } from 'rxjs';
import type { Codec } from '../protocol/codec.js';
import type { RedisClock } from '../redis/clock.js';
import type { RedisStreamsContext } from './context.js';
import type { Delivery } from './delivery.js';
import { Execution } from './execution.js';
import type { ReplyOutcome } from './reply-writer.js';
import { Responder, type ResponderDeps, type ResponderListener } from './responder.js';
import type { Slots } from './slots.js';

/** Who is told what becomes of a request. */
export interface RequestListener {
  /** It holds up nobody any longer. */
  requestAnswered(slots: Slots): void;
  /** Its last reply is stored, or nobody waits for it. */
  requestSettled(delivery: Delivery): void;
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
  readonly responder: Responder;

  constructor(
    delivery: Delivery,
    { id, reply }: { id: string; reply: string },
    codec: Codec,
    private readonly slots: Slots,
    private readonly deps: RequestExecutionDeps,
  ) {
    super(delivery, deps.clock, deps.onTeardownError);
    this.responder = new Responder(delivery, id, reply, codec, deps.responder, this);
  }

  /**
   * Runs the message handler and gives what it returns to the responder. A plain value or a promise of one never meets
   * rxjs. Resolves when the handler's last value has been given.
   */
  async answer(handler: MessageHandler, data: unknown, context: RedisStreamsContext): Promise<void> {
    const result: unknown = await handler(data, context);
    if (isObservable(result)) {
      await this.relay(result);
    } else if (this.isAborted) {
      // It ended because it was told to: what it gave is no answer, and must not race its caller's timeout.
      this.responder.expire();
    } else {
      this.responder.value(result);
    }
  }

  answered(): void {
    this.deps.listener.requestAnswered(this.slots);
  }

  settled(outcome: ReplyOutcome): void {
    this.deps.listener.requestSettled(this.delivery);
    if (outcome !== 'stored') {
      this.lifetime.abort(new Error(`The reply is for nobody any more (${outcome}).`));
    }
  }

  override revoke(): void {
    this.responder.revoke();
    super.revoke();
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
      responder.error(error);
    }
  }
}
