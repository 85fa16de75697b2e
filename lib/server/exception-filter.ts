import { Catch, type ArgumentsHost } from '@nestjs/common';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { catchError, throwError, type Observable } from 'rxjs';

/** What was thrown, by what Nest made of it. Weak: it lives as long as the latter does. */
const originals = new WeakMap<object, unknown>();

/**
 * Does what Nest does with an exception that no other filter takes, and remembers what was thrown. Nest hides that from
 * a transport: what a handler throws arrives as `Internal server error`, unless it is an `RpcException`. So without this
 * filter a dead letter says no more than that (the log does; Nest logs what it hides). Callers see no difference.
 *
 *     microservice.useGlobalFilters(new RedisStreamsExceptionFilter());
 *
 * or `@UseFilters(RedisStreamsExceptionFilter)` on a controller. It is for microservices, not for the HTTP side of an
 * application. Filters of your own come before it where they are on a method or a controller, or are given after it.
 */
@Catch()
export class RedisStreamsExceptionFilter extends BaseRpcExceptionFilter<unknown, never> {
  override catch(exception: unknown, host: ArgumentsHost): Observable<never> {
    if (host.getType() !== 'rpc') {
      // Given to a whole application by mistake: an observable would leave its HTTP callers without an answer.
      throw exception;
    }
    // Nest makes a new error for each subscriber: the one that is passed on is the one to remember.
    return super.catch(exception, host).pipe(
      catchError((error: unknown) => {
        if (typeof error === 'object' && error !== null && error !== exception) {
          originals.set(error, exception);
        }
        return throwError(() => error);
      }),
    );
  }
}

/** What was thrown, where the filter saw what became `error`; else `error` itself. */
export function originalErrorOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && originals.has(error) ? originals.get(error) : error;
}
