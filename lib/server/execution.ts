import { isObservable, Subscription, type Observable } from 'rxjs';
import type { MessageHandler } from '@nestjs/microservices';
import { ConnectionClosedError, DeadlineExceededError } from '../errors.js';
import type { RedisClock } from '../redis/clock.js';
import type { Delivery } from './delivery.js';
import type { RedisStreamsContext } from './context.js';
import { Lifetime } from './lifetime.js';
import type { Responder } from './responder.js';

/** What Nest's handlers of one message are called with. */
export interface Call {
  data: unknown;
  context: RedisStreamsContext;
}

/**
 * One message while its handlers run. `revoke()` ends it without a result: nothing it does afterwards is settled.
 */
export class Execution {
  readonly lifetime: Lifetime;
  private revoked = false;

  constructor(
    { deadline, entry }: Delivery,
    clock: RedisClock,
    private readonly responder?: Responder,
  ) {
    this.lifetime = new Lifetime(
      () => (deadline === undefined ? undefined : deadline - clock.now()),
      () => new DeadlineExceededError(entry.pattern),
    );
  }

  get isRevoked(): boolean {
    return this.revoked;
  }

  /** The instance is closing and has waited long enough. */
  revoke(): void {
    this.revoked = true;
    this.responder?.revoke();
    this.lifetime.abort(
      new ConnectionClosedError('The server is closing and has waited for its handlers long enough.'),
    );
  }

  /**
   * Runs a message handler and gives what it returns to the responder. A plain value or a promise of one never meets
   * rxjs. Resolves when the handler's last value has been given.
   */
  async answer(handler: MessageHandler, { data, context }: Call, responder: Responder): Promise<void> {
    const result: unknown = await handler(data, context);
    if (isObservable(result)) {
      await this.relay(result, responder);
    } else {
      responder.value(result);
    }
  }

  /**
   * Runs an event handler to its end.
   * @returns what it failed with, wrapped, since anything may be thrown; `undefined` when it succeeded
   */
  async perform(handler: MessageHandler, { data, context }: Call): Promise<{ error: unknown } | undefined> {
    try {
      const result: unknown = await handler(data, context);
      if (isObservable(result)) {
        await this.follow(result, () => undefined);
      }
      return undefined;
    } catch (error) {
      return { error };
    }
  }

  private async relay(values: Observable<unknown>, responder: Responder): Promise<void> {
    let hasCompleted: boolean;
    try {
      hasCompleted = await this.follow(values, (value) => {
        responder.next(value);
        return !responder.hasEnded;
      });
    } catch (error) {
      responder.error(error);
      return;
    }
    if (hasCompleted) {
      responder.complete();
    } else if (!responder.hasEnded) {
      responder.expire();
    }
  }

  /**
   * Subscribes, exactly once: a handler with interceptors is a cold observable, and runs again for each subscription.
   * @param onValue returns false when no more are wanted
   * @returns whether it completed; false when it was ended from outside. Rejects with its error
   */
  private follow(
    values: Observable<unknown>,
    onValue: (value: unknown) => boolean | undefined,
  ): Promise<boolean> {
    return new Promise((resolve, reject) => {
      // Takes the real one in, and ends it at once if it is over by then: some emit while they are being subscribed to.
      const subscription = new Subscription();
      const stop = (): void => {
        subscription.unsubscribe();
        resolve(false);
      };
      this.lifetime.whenAborted(stop);
      subscription.add(
        values.subscribe({
          next: (value) => {
            if (onValue(value) === false) {
              stop();
            }
          },
          error: reject,
          complete: () => resolve(true),
        }),
      );
    });
  }
}
