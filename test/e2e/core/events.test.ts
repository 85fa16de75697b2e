import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Injectable, Scope, UseGuards, UseInterceptors, type CanActivate } from '@nestjs/common';
import type { CallHandler, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { EMPTY, Observable, concat, concatMap, firstValueFrom, from, of, throwError, timer } from 'rxjs';
import { closeAll, connect, inspect, Lines, serve, serveModule } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { topicKey } from '../../support/shards.js';
import { deferred, eventually } from '../../support/wait.js';

let redis: RedisServer;
let look: Redis;
let options: { connection: string; service: string; namespace: string };
let number = 0;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(() => {
  options = { connection: redis.url, service: 'listener', namespace: `events-${++number}` };
  look = inspect(redis.url);
});
afterEach(closeAll);
afterAll(() => redis.stop());

const topic = (pattern: string): string => topicKey(pattern, options.namespace);

async function publish(pattern: unknown, data: unknown = {}): Promise<void> {
  await firstValueFrom(connect(options).emit(pattern, data), { defaultValue: undefined });
}

async function pending(pattern: string): Promise<number> {
  return ((await look.xpending(topic(pattern), options.service)) as [number])[0];
}

/** Until the group has read everything and `count` of it is unacknowledged. */
async function settledWith(pattern: string, count: number): Promise<void> {
  await eventually(async () => {
    const [group] = (await look.xinfo('GROUPS', topic(pattern))) as unknown[][];
    const lag = group?.[group.indexOf('lag') + 1];
    return lag === 0 && (await pending(pattern)) === count;
  }, `${count} pending events of '${pattern}'`);
}

test('every event handler of a pattern runs, in one controller and in two', async () => {
  const ran: string[] = [];
  @Controller()
  class OneController {
    @EventPattern('placed')
    first(@Payload() data: string): void {
      ran.push(`first ${data}`);
    }
    @EventPattern('placed')
    async second(@Payload() data: string): Promise<void> {
      await new Promise((resolve) => setImmediate(resolve));
      ran.push(`second ${data}`);
    }
  }
  @Controller()
  class OtherController {
    @EventPattern('placed')
    third(@Payload() data: string): Observable<unknown> {
      return timer(5).pipe(concatMap(() => of(ran.push(`third ${data}`))));
    }
  }
  await serve(options, OneController, OtherController);
  await publish('placed', 'order');
  await settledWith('placed', 0);
  expect(ran.sort()).toEqual(['first order', 'second order', 'third order']);
});

test('a handler that fails does not keep the others from running, and the event is delivered again', async () => {
  const finished = deferred();
  const lines = new Lines();
  @Controller()
  class MixedController {
    @EventPattern<string>('mixed')
    fails(): never {
      throw new Error('the first one fails');
    }
    @EventPattern<string>('mixed')
    failsLater(): Observable<never> {
      return throwError(() => new RpcException('the second one fails'));
    }
    @EventPattern<string>('mixed')
    async works(): Promise<void> {
      await new Promise((resolve) => setTimeout(resolve, 20));
      finished.resolve();
    }
  }
  await serveModule(options, { controllers: [MixedController] }, { logger: lines });
  await publish('mixed');
  await finished.promise;
  await settledWith('mixed', 1);
  await eventually(() => lines.with('is delivered again')[0], 'a line about the failure');
  const [line] = lines.with('is delivered again');
  expect(line).toMatch(
    /^warn: Event 'mixed' \(entry \d+-\d+ of '\{events-\d+:\d\}:topic:mixed'\) failed at delivery 1 and is delivered again in \d+ ms/,
  );
});

test('a fast handler without a value does not cancel a slow one', async () => {
  const slow = deferred();
  const mayFinish = deferred();
  @Controller()
  class FastAndSlowController {
    @EventPattern<string>('race')
    fast(): void {
      return;
    }
    @EventPattern<string>('race')
    empty(): Observable<never> {
      return EMPTY;
    }
    @EventPattern<string>('race')
    slow(): Observable<unknown> {
      return concat(
        from(mayFinish.promise),
        new Observable((subscriber) => {
          slow.resolve();
          subscriber.complete();
        }),
      );
    }
  }
  await serve(options, FastAndSlowController);
  await publish('race');
  await eventually(async () => (await pending('race')) === 1, 'the event to be under way');
  mayFinish.resolve();
  await slow.promise;
  await settledWith('race', 0);
});

test('an event is acknowledged only when the last of its handlers has ended', async () => {
  const release = deferred();
  let started = 0;
  @Controller()
  class SlowController {
    @EventPattern<string>('awaited')
    quick(): void {
      started++;
    }
    @EventPattern<string>('awaited')
    stream(): Observable<unknown> {
      started++;
      return concat(of('a value'), from(release.promise), EMPTY);
    }
  }
  await serve(options, SlowController);
  await publish('awaited');
  await eventually(() => started === 2, 'both handlers to start');
  await look.ping();
  await expect(pending('awaited')).resolves.toBe(1);
  release.resolve();
  await settledWith('awaited', 0);
});

test('an event and a message handler of one pattern both work, in either order', async () => {
  const events: string[] = [];
  @Controller()
  class MessageFirstController {
    @MessagePattern('both-a')
    ask(): string {
      return 'asked a';
    }
    @EventPattern<string>('both-a')
    on(): void {
      events.push('a');
    }
  }
  @Controller()
  class EventFirstController {
    @EventPattern<string>('both-b')
    on(): void {
      events.push('b');
    }
    @MessagePattern('both-b')
    ask(): string {
      return 'asked b';
    }
  }
  await serve(options, MessageFirstController, EventFirstController);
  const client = connect(options);
  await expect(firstValueFrom(client.send('both-a', {}))).resolves.toBe('asked a');
  await expect(firstValueFrom(client.send('both-b', {}))).resolves.toBe('asked b');
  expect(events).toEqual([]);
  await publish('both-a');
  await publish('both-b');
  await settledWith('both-a', 0);
  await settledWith('both-b', 0);
  expect(events.sort()).toEqual(['a', 'b']);
});

test('a request does not run event handlers, and a pattern with event handlers only has no answer', async () => {
  let ran = 0;
  @Controller()
  class EventOnlyController {
    @EventPattern<string>('told')
    on(): void {
      ran++;
    }
  }
  await serve(options, EventOnlyController);
  await expect(firstValueFrom(connect(options).send('told', {}))).rejects.toBe(
    'There is no matching message handler defined in the remote service.',
  );
  expect(ran).toBe(0);
});

test('every subscribed service gets an event once, by one of its instances', async () => {
  const ran: string[] = [];
  const listener = (name: string) => {
    @Controller()
    class ListenerController {
      @EventPattern('spread')
      on(@Payload() data: number): void {
        ran.push(`${name} ${data}`);
      }
    }
    return ListenerController;
  };
  await serve({ ...options, service: 'one' }, listener('one'));
  await serve({ ...options, service: 'one' }, listener('one'));
  await serve({ ...options, service: 'other' }, listener('other'));
  const client = connect(options);
  const numbers = Array.from({ length: 50 }, (_, i) => i);
  await Promise.all(
    numbers.map((i) => firstValueFrom(client.emit('spread', i), { defaultValue: undefined })),
  );
  await eventually(() => ran.length >= 100, 'all handlers to run');
  expect(ran.sort()).toEqual([...numbers.map((i) => `one ${i}`), ...numbers.map((i) => `other ${i}`)].sort());
});

test('events that were published before the first start are handled', async () => {
  for (let i = 0; i < 5; i++) {
    await publish('early', i);
  }
  const got: number[] = [];
  @Controller()
  class EarlyController {
    @EventPattern('early')
    on(@Payload() data: number): void {
      got.push(data);
    }
  }
  await serve(options, EarlyController);
  await settledWith('early', 0);
  expect(got).toEqual([0, 1, 2, 3, 4]);
});

test('guards, interceptors and request scope apply to events, each handler runs once', async () => {
  const trace: string[] = [];
  @Injectable()
  class RefusingGuard implements CanActivate {
    canActivate(context: ExecutionContext): boolean {
      return context.switchToRpc().getData<unknown>() !== 'refused';
    }
  }
  @Injectable()
  class CountingInterceptor implements NestInterceptor {
    intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
      trace.push('around');
      return next.handle();
    }
  }
  let made = 0;
  @Controller({ scope: Scope.REQUEST })
  class ScopedEventController {
    constructor() {
      made++;
    }
    @UseGuards(RefusingGuard)
    @UseInterceptors(CountingInterceptor)
    @EventPattern('piped')
    on(@Payload() data: string): void {
      trace.push(data);
    }
  }
  await serve(options, ScopedEventController);
  await publish('piped', 'first');
  await publish('piped', 'refused');
  await publish('piped', 'second');
  await settledWith('piped', 1);
  expect(trace).toEqual(['around', 'first', 'around', 'second']);
  expect(made).toBe(3);
});
