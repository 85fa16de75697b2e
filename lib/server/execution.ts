import type { MessageHandler } from '@nestjs/microservices';
import { isObservable, Subscription, type Observable } from 'rxjs';
import { ConnectionClosedError } from '../errors.js';
import type { RedisClock } from '../redis/clock.js';
import type { RedisStreamsContext } from './context.js';
import type { Delivery } from './delivery.js';
import { Lifetime } from './lifetime.js';

/** One message while its handlers run. `revoke()` ends it without a result: nothing it does afterwards is settled. */
export class Execution {
  private ownLifetime: Lifetime | undefined;
  private revoked = false;

  constructor(
    readonly delivery: Delivery,
    private readonly clock: RedisClock,
    /** Told of what a handler's observable throws when it is unsubscribed from; nobody else could be. */
    private readonly onTeardownError: (error: unknown, delivery: Delivery) => void,
  ) {}

  get isRevoked(): boolean {
    return this.revoked;
  }

  /** Whether somebody who looked at the signal, or an observable, was told to stop. */
  protected get isAborted(): boolean {
    return this.ownLifetime?.isAborted ?? false;
  }

  /** Made when it is first asked for: few handlers ever do. */
  get lifetime(): Lifetime {
    this.ownLifetime ??= new Lifetime(this.delivery, this.clock);
    return this.ownLifetime;
  }

  /** The instance is closing and has waited long enough. */
  revoke(): void {
    this.revoked = true;
    this.lifetime.abort(
      new ConnectionClosedError('The server is closing and has waited for its handlers long enough.'),
    );
  }

  /** The handlers have ended. */
  end(): void {
    this.ownLifetime?.end();
  }

  /**
   * Runs an event handler to its end.
   * @returns what it failed with, wrapped, since anything may be thrown; `undefined` when it succeeded
   */
  async perform(
    handler: MessageHandler,
    data: unknown,
    context: RedisStreamsContext,
  ): Promise<{ error: unknown } | undefined> {
    try {
      const result: unknown = await handler(data, context);
      if (isObservable(result)) {
        const hasCompleted = await this.follow(result, () => true);
        if (!hasCompleted) {
          return { error: new ConnectionClosedError('The handler was stopped before it had finished.') };
        }
      }
      return undefined;
    } catch (error) {
      return { error };
    }
  }

  /**
   * Subscribes, exactly once: a handler with interceptors is a cold observable, and runs again for each subscription.
   * @param onValue returns whether more are wanted
   * @returns whether it completed; false when it was ended from outside. Rejects with its error
   */
  protected follow(values: Observable<unknown>, onValue: (value: unknown) => boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      // Takes the real one in, and ends it at once if it is over by then: some emit while they are being subscribed to.
      const subscription = new Subscription();
      const stop = (): void => {
        resolve(false);
        try {
          subscription.unsubscribe();
        } catch (error) {
          this.onTeardownError(error, this.delivery);
        }
      };
      this.lifetime.whenAborted(stop);
      subscription.add(
        values.subscribe({
          next: (value) => {
            if (!onValue(value)) {
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
