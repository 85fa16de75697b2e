import { Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import {
  InjectRedisStreamsClient,
  OutcomeUnknownError,
  PublishTimeoutError,
  RequestTimeoutError,
} from 'nestjs-redis-streams';
import { defer, lastValueFrom, retry, throwError, timer, type MonoTypeOperatorFunction } from 'rxjs';
import { TOTAL, type BakeryEvent, type Order } from '../contracts.js';

export const BAKERY = 'BAKERY';
const ATTEMPTS = 4;

@Injectable()
export class ShopService {
  /** How many requests and events were sent once more. */
  repeated = 0;

  constructor(@InjectRedisStreamsClient(BAKERY) private readonly bakery: ClientProxy) {}

  total(order: Order): Promise<number> {
    return lastValueFrom(this.bakery.send<number>(TOTAL, order).pipe(this.again()));
  }

  /** Resolves once Redis has stored the event. */
  async announce(event: BakeryEvent, id: string): Promise<void> {
    // emit() publishes at once; deferred, so that each attempt publishes.
    await lastValueFrom(defer(() => this.bakery.emit(event, id)).pipe(this.again()), {
      defaultValue: undefined,
    });
  }

  /**
   * A node that dies takes along what was just written to it, or at least the answer. Nobody knows which, so it is up
   * to the application to send it again: here a second time does no harm.
   */
  private again<T>(): MonoTypeOperatorFunction<T> {
    return retry({
      count: ATTEMPTS - 1,
      delay: (error: unknown) => {
        if (!isUndecided(error)) {
          return throwError(() => error);
        }
        this.repeated++;
        return timer(0);
      },
    });
  }
}

function isUndecided(error: unknown): boolean {
  return (
    error instanceof RequestTimeoutError ||
    error instanceof OutcomeUnknownError ||
    error instanceof PublishTimeoutError
  );
}
