import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import {
  EMPTY,
  Observable,
  concat,
  concatMap,
  from,
  lastValueFrom,
  of,
  throwError,
  timer,
  toArray,
} from 'rxjs';
import { map } from 'rxjs/operators';
import { RedisStreamsClient } from '../../../lib/index.js';
import { closeAll, connect, inspect, serve } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { deferred, eventually } from '../../support/wait.js';

const LONG_STREAM = 2_000;

@Controller()
class ResultsController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
  @MessagePattern('echo-promise')
  echoPromise(@Payload() data: unknown): Promise<unknown> {
    return Promise.resolve(data);
  }
  @MessagePattern('echo-later')
  async echoLater(@Payload() data: unknown): Promise<unknown> {
    await new Promise((resolve) => setImmediate(resolve));
    return data;
  }
  @MessagePattern('echo-observable')
  echoObservable(@Payload() data: unknown): Observable<unknown> {
    return of(data);
  }
  @MessagePattern('promise-of-observable')
  promiseOfObservable(): Promise<Observable<string>> {
    return Promise.resolve(of('a', 'b'));
  }
  @MessagePattern('undefined')
  undefinedValue(): undefined {
    return undefined;
  }
  @MessagePattern('undefined-observable')
  undefinedObservable(): Observable<undefined> {
    return of(undefined);
  }
  @MessagePattern('none')
  none(): Observable<never> {
    return EMPTY;
  }
  @MessagePattern('none-later')
  noneLater(): Observable<never> {
    return timer(5).pipe(concatMap(() => EMPTY));
  }
  @MessagePattern('count')
  count(@Payload() to: number): Observable<number> {
    return from(Array.from({ length: to }, (_, i) => i));
  }
  @MessagePattern('slow')
  slow(@Payload() to: number): Observable<number> {
    return from(Array.from({ length: to }, (_, i) => i)).pipe(
      concatMap((i) => timer(i % 3).pipe(map(() => i))),
    );
  }
  @MessagePattern('values-then-error')
  valuesThenError(): Observable<number> {
    return concat(
      of(1, 2),
      throwError(() => new Error('after two')),
    );
  }
  @MessagePattern('values-of-one-turn')
  oneTurn(): Observable<string> {
    return new Observable((subscriber) => {
      setImmediate(() => {
        subscriber.next('first');
        subscriber.next('second');
        subscriber.next('third');
        subscriber.complete();
      });
    });
  }
  @MessagePattern('falsy-values')
  falsy(): Observable<unknown> {
    return of(0, '', false, null);
  }
}

let redis: RedisServer;
let client: RedisStreamsClient;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  await serve({ connection: redis.url, service: 'results' }, ResultsController);
  client = connect({ connection: redis.url, service: 'results' });
});
afterEach(closeAll);
afterAll(() => redis.stop());

const ask = (pattern: string, data: unknown = {}): Promise<unknown[]> =>
  lastValueFrom(client.send<unknown>(pattern, data).pipe(toArray()));

test.each(['echo', 'echo-promise', 'echo-later', 'echo-observable'])(
  'what a handler gives arrives as it is: %s',
  async (pattern) => {
    for (const value of [0, '', false, 'text', 42, -1.5, true, [1, [2]], { a: { b: null } }, 'żółć 🎈']) {
      await expect(ask(pattern, value)).resolves.toEqual([value]);
    }
  },
);

test('a handler that gives null gives null', async () => {
  @Controller()
  class NullController {
    @MessagePattern('null-value')
    value(): null {
      return null;
    }
    @MessagePattern('null-later')
    later(): Promise<null> {
      return Promise.resolve(null);
    }
  }
  await serve({ connection: redis.url, service: 'nulls' }, NullController);
  const nulls = connect({ connection: redis.url, service: 'nulls' });
  for (const pattern of ['null-value', 'null-later']) {
    await expect(lastValueFrom(nulls.send(pattern, {}).pipe(toArray()))).resolves.toEqual([null]);
  }
});

test.each(['undefined', 'undefined-observable', 'none', 'none-later'])(
  'a handler that gives nothing completes the caller without a value: %s',
  async (pattern) => {
    await expect(ask(pattern)).resolves.toEqual([]);
  },
);

test('a promise of an observable gives its values', async () => {
  await expect(ask('promise-of-observable')).resolves.toEqual(['a', 'b']);
});

test('an observable of many values gives all of them, in order', async () => {
  const values = await ask('count', LONG_STREAM);
  expect(values).toEqual(Array.from({ length: LONG_STREAM }, (_, i) => i));
});

test('a slow observable keeps its order', async () => {
  await expect(ask('slow', 50)).resolves.toEqual(Array.from({ length: 50 }, (_, i) => i));
});

test('values of one turn arrive one by one, in order', async () => {
  await expect(ask('values-of-one-turn')).resolves.toEqual(['first', 'second', 'third']);
});

test('falsy values in a stream are values', async () => {
  await expect(ask('falsy-values')).resolves.toEqual([0, '', false, null]);
});

test('an observable that fails gives its values first, then the error', async () => {
  const seen: unknown[] = [];
  const error = await new Promise((resolve) => {
    client.send('values-then-error', {}).subscribe({ next: (value) => seen.push(value), error: resolve });
  });
  expect(seen).toEqual([1, 2]);
  expect(error).toEqual({ status: 'error', message: 'Internal server error' });
});

test('a value reaches the caller while the stream is still open', async () => {
  const release = deferred();
  @Controller()
  class OpenController {
    @MessagePattern('open')
    open(): Observable<string> {
      return concat(of('now'), from(release.promise.then(() => 'later')));
    }
  }
  await serve({ connection: redis.url, service: 'open' }, OpenController);
  const seen: unknown[] = [];
  const done = new Promise<void>((resolve, reject) => {
    connect({ connection: redis.url, service: 'open' })
      .send('open', {})
      .subscribe({ next: (value) => seen.push(value), complete: resolve, error: reject });
  });
  await eventually(() => seen.length === 1, 'the first value');
  release.resolve();
  await done;
  expect(seen).toEqual(['now', 'later']);
});

test('a handler runs once for each request, and its entry is gone afterwards', async () => {
  const look = inspect(redis.url);
  await Promise.all(Array.from({ length: 100 }, (_, i) => expect(ask('echo', i)).resolves.toEqual([i])));
  await eventually(async () => (await look.xlen('{nest:0}:inbox:results')) === 0, 'an empty inbox');
  const [pending] = (await look.xpending('{nest:0}:inbox:results', 'results')) as [number];
  expect(pending).toBe(0);
});
