import { afterEach, describe, expect, test } from '@jest/globals';
import {
  Catch,
  Controller,
  HttpException,
  Injectable,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
  type PipeTransform,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  EventPattern,
  Payload,
  RpcException,
  Server,
  type CustomTransportStrategy,
} from '@nestjs/microservices';
import { Observable, concat, defer, isObservable, lastValueFrom, of, tap, throwError } from 'rxjs';
import {
  ConfigurationError,
  DeadLetter,
  RedisStreamsExceptionFilter,
  RetryLater,
  isDeadLetter,
  isRetryLater,
} from '../../../lib/index.js';
import { originalErrorOf } from '../../../lib/server/exception-filter.js';
import { closeAll, Lines, onClose, testModule } from '../../support/app.js';

/** What a handler fails with, as it reaches a transport through Nest. */
class Strategy extends Server implements CustomTransportStrategy {
  listen(callback: () => void): void {
    callback();
  }
  close(): void {
    nothing();
  }
  on(): void {
    nothing();
  }
  unwrap<T>(): T {
    throw new Error('There is nothing inside.');
  }

  async failureOf(pattern: string): Promise<unknown> {
    const result: unknown = await this.messageHandlers.get(pattern)!('data', {});
    return isObservable(result)
      ? lastValueFrom(result, { defaultValue: 'no failure' }).catch((error: unknown) => error)
      : 'no failure';
  }
}

/** What is thrown next, wherever. */
let thrown: () => unknown;

function nothing(): void {
  // Not what is looked at here.
}

function fail(): never {
  throw thrown();
}

@Injectable()
class FailingGuard implements CanActivate {
  canActivate(): boolean {
    return fail();
  }
}

@Injectable()
class FailingPipe implements PipeTransform {
  transform(): unknown {
    return fail();
  }
}

@Injectable()
class FailingInterceptor implements NestInterceptor {
  intercept(): Observable<unknown> {
    return fail();
  }
}

@Injectable()
class LateInterceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(tap({ complete: fail }));
  }
}

@Controller()
class FailingController {
  @EventPattern('handler')
  handler(_: unknown): void {
    fail();
  }
  @EventPattern('promise')
  async promise(_: unknown): Promise<void> {
    await Promise.resolve();
    fail();
  }
  @EventPattern('observable')
  observable(_: unknown): Observable<unknown> {
    return concat(of('a value'), defer(fail));
  }
  @UseGuards(FailingGuard)
  @EventPattern('guard')
  guard(_: unknown): void {
    nothing();
  }
  @UsePipes(FailingPipe)
  @EventPattern('pipe')
  pipe(@Payload() _: unknown): void {
    nothing();
  }
  @UseInterceptors(FailingInterceptor)
  @EventPattern('interceptor')
  interceptor(_: unknown): void {
    nothing();
  }
  @UseInterceptors(LateInterceptor)
  @EventPattern('late-interceptor')
  lateInterceptor(_: unknown): void {
    nothing();
  }
}

const PLACES = ['handler', 'promise', 'observable', 'guard', 'pipe', 'interceptor', 'late-interceptor'];

afterEach(closeAll);

async function start(
  controller: new () => object = FailingController,
  ...filters: ExceptionFilter[]
): Promise<{ strategy: Strategy; lines: Lines }> {
  const strategy = new Strategy();
  const lines = new Lines();
  const app = await NestFactory.createMicroservice(testModule({ controllers: [controller] }), {
    strategy,
    logger: lines,
  });
  onClose(() => app.close());
  app.useGlobalFilters(...filters);
  await app.listen();
  return { strategy, lines };
}

describe.each([
  ['without the filter', []],
  ['with the filter', [new RedisStreamsExceptionFilter()]],
])('%s', (_, filters) => {
  test.each(PLACES)('RetryLater reaches the transport from a %s', async (place) => {
    thrown = () => new RetryLater(250);
    const { strategy } = await start(FailingController, ...filters);
    const failure = originalErrorOf(await strategy.failureOf(place));
    expect(isRetryLater(failure) && failure.delay).toBe(250);
    expect(isDeadLetter(failure)).toBe(false);
  });

  test.each(PLACES)('DeadLetter reaches the transport from a %s', async (place) => {
    const cause = new Error('why');
    thrown = () => new DeadLetter('no such product', { cause });
    const { strategy } = await start(FailingController, ...filters);
    const failure = originalErrorOf(await strategy.failureOf(place));
    expect(isDeadLetter(failure) && failure.reason).toBe('no such product');
    expect(isRetryLater(failure)).toBe(false);
    expect(failure).toMatchObject({ name: 'DeadLetter', message: 'no such product', cause });
    expect((failure as Error).stack).toMatch(/^DeadLetter: no such product\n|outcomes\.test/);
  });
});

describe('RetryLater', () => {
  test.each([
    [0, 0],
    [0.2, 1],
    [1_500, 1_500],
    [2 ** 31 - 1, 2 ** 31 - 1],
  ])('takes %d ms', (ms, delay) => {
    expect(new RetryLater(ms).delay).toBe(delay);
  });

  test.each([-1, Number.NaN, Infinity, 2 ** 31, '5', undefined, null])('does not take %p', (ms) => {
    expect(() => new RetryLater(ms as number)).toThrow(ConfigurationError);
    expect(() => new RetryLater(ms as number)).toThrow(/milliseconds from 0 to 2147483647, not /);
  });

  test('is an RpcException and an Error, and says what it is for', () => {
    const error = new RetryLater(1_500);
    expect(error).toBeInstanceOf(RpcException);
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe('RetryLater: The event is to be delivered again in 1500 ms.');
    expect('cause' in error).toBe(false);
  });
});

describe('telling them apart', () => {
  test('what another build of this package threw is known by its brand', () => {
    const foreign = { [Symbol.for('nestjs-redis-streams:retry-later')]: true, delay: 5 };
    expect(isRetryLater(foreign)).toBe(true);
  });

  test.each([undefined, null, 'DeadLetter', 0, new Error('x'), { name: 'DeadLetter' }, () => undefined])(
    '%p is neither',
    (error) => {
      expect(isRetryLater(error)).toBe(false);
      expect(isDeadLetter(error)).toBe(false);
    },
  );
});

describe('the exception filter', () => {
  const ERRORS: [string, unknown][] = [
    ['an Error', new TypeError('the real one')],
    ['an HttpException', new HttpException('teapot', 418)],
    ['a string', 'just a string'],
    ['null', null],
    ['undefined', undefined],
    ['an RpcException of a string', new RpcException('said')],
    ['an RpcException of an object', new RpcException(Object.freeze({ code: 42 }))],
  ];

  test.each(ERRORS)('a transport learns what was thrown, and gets what Nest gives: %s', async (_, error) => {
    thrown = () => error;
    const plain = await start();
    const filtered = await start(FailingController, new RedisStreamsExceptionFilter());
    for (const place of PLACES) {
      const failure = await filtered.strategy.failureOf(place);
      expect(failure).toEqual(await plain.strategy.failureOf(place));
      expect(originalErrorOf(failure)).toBe(error);
    }
  });

  test('what Nest logs is logged once', async () => {
    thrown = () => new TypeError('the real one');
    const { strategy, lines } = await start(FailingController, new RedisStreamsExceptionFilter());
    await strategy.failureOf('handler');
    expect(lines.with('the real one')).toHaveLength(1);
  });

  test('without it, or where it saw nothing, there is only what arrived', async () => {
    thrown = () => new TypeError('the real one');
    const { strategy } = await start();
    const failure = await strategy.failureOf('handler');
    expect(failure).toEqual({ status: 'error', message: 'Internal server error' });
    expect(originalErrorOf(failure)).toBe(failure);
    expect(originalErrorOf('a string')).toBe('a string');
    expect(originalErrorOf(undefined)).toBeUndefined();
  });

  test('a filter of the user, on a handler or given later, comes before it', async () => {
    @Catch(TypeError)
    class OwnFilter implements ExceptionFilter {
      catch(): Observable<never> {
        return throwError(() => 'mine');
      }
    }
    thrown = () => new TypeError('the real one');
    const global = await start(FailingController, new RedisStreamsExceptionFilter(), new OwnFilter());
    expect(await global.strategy.failureOf('handler')).toBe('mine');

    @Controller()
    class OwnController {
      @UseFilters(OwnFilter)
      @EventPattern('own')
      own(_: unknown): void {
        fail();
      }
    }
    const own = await start(OwnController, new RedisStreamsExceptionFilter());
    expect(await own.strategy.failureOf('own')).toBe('mine');
  });

  test('it works on a controller', async () => {
    @UseFilters(RedisStreamsExceptionFilter)
    @Controller()
    class FilteredController extends FailingController {}
    const error = new TypeError('the real one');
    thrown = () => error;
    const { strategy } = await start(FilteredController);
    expect(originalErrorOf(await strategy.failureOf('handler'))).toBe(error);
  });

  test('an exception of something else than a microservice is passed on', () => {
    const error = new Error('of HTTP');
    const host = { getType: () => 'http' } as ArgumentsHost;
    expect(() => new RedisStreamsExceptionFilter().catch(error, host)).toThrow(error);
  });
});
