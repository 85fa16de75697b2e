import { Subscription, type Observable } from 'rxjs';
import type { RedisClock } from '../redis/clock.js';
import type { Bagged } from '../util/bag.js';
import type { Delivery } from './delivery.js';
import { Lifetime } from './lifetime.js';

/** One message while its handlers run. `revoke()` ends it without a result: nothing it does afterwards is settled. */
export abstract class Execution implements Bagged {
  /** Among those that run. */
  place = 0;
  private ownLifetime: Lifetime | undefined;
  private revoked = false;

  constructor(
    readonly delivery: Delivery,
    private readonly clock: RedisClock,
    /** Told of what a handler's observable throws when it is unsubscribed from; nobody else could be. */
    private readonly onTeardownError: (error: unknown, delivery: Delivery) => void,
  ) {
    delivery.execution = this;
  }

  get isRevoked(): boolean {
    return this.revoked;
  }

  /** Whether somebody who looked at the signal, or an observable, was told to stop. */
  get isAborted(): boolean {
    return this.ownLifetime?.isAborted ?? false;
  }

  /** Made when it is first asked for: few handlers ever do. */
  get lifetime(): Lifetime {
    this.ownLifetime ??= new Lifetime(this.delivery, this.clock);
    return this.ownLifetime;
  }

  /** Takes away the right to settle, and tells the handlers why they are to stop. */
  revoke(reason: Error): void {
    this.revoked = true;
    this.lifetime.abort(reason);
  }

  /** The handlers have ended. */
  end(): void {
    this.ownLifetime?.end();
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
