import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  Controller,
  Injectable,
  UseGuards,
  UseInterceptors,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { Observable, defer, firstValueFrom, map, timer } from 'rxjs';
import {
  ConfigurationError,
  DeadLetter,
  RedisStreamsContext,
  RetryLater,
  type RedisStreamsReports,
  type RedisStreamsServer,
  type RetryOptions,
} from '../../lib/index.js';
import { backoffDelay } from '../../lib/server/retry-policy.js';
import { closeAll, connect, inspect, Lines, serve, serveModule } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deadLettersIn, pendingIn } from '../support/streams.js';
import { eventually } from '../support/wait.js';

/** Redis counts in whole milliseconds, and timers of Node may fire one early. */
const ROUNDING_MS = 2;

let redis: RedisServer;
let look: Redis;
let options: { connection: string; service: string; namespace: string; retry: RetryOptions };
let number = 0;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(() => {
  const namespace = `retries-${++number}`;
  const retry: RetryOptions = { maxDeliveries: 3, backoff: { type: 'fixed', delay: 60 } };
  options = { connection: redis.url, service: 'retrying', namespace, retry };
  look = inspect(redis.url);
});
afterEach(closeAll);
afterAll(() => redis.stop());

const inbox = (): string => `{${options.namespace}:0}:inbox:retrying`;
const topic = (pattern: string): string => `{${options.namespace}:0}:topic:${pattern}`;
const dead = () => deadLettersIn(look, `{${options.namespace}:0}:dead:retrying`);
const firstDead = () => eventually(async () => (await dead())[0], 'a dead letter');

async function publish(pattern: string, data: unknown = {}): Promise<void> {
  const { connection, namespace } = options;
  await firstValueFrom(connect({ connection, namespace }).emit(pattern, data), { defaultValue: undefined });
}

const settled = (stream: string): Promise<boolean> =>
  eventually(async () => (await pendingIn(look, stream, 'retrying')) === 0, `nothing pending in ${stream}`);

/** The reports of one name that a server makes from now on. */
function reports<Name extends keyof RedisStreamsReports>(
  server: RedisStreamsServer,
  name: Name,
): RedisStreamsReports[Name][] {
  const all: RedisStreamsReports[Name][] = [];
  server.hooks.on(name, (report) => all.push(report));
  return all;
}

/** When, and at which deliveries, a handler was called. */
interface Call {
  delivery: number;
  at: number;
}

function note(calls: Call[], context: RedisStreamsContext): void {
  calls.push({ delivery: context.deliveryCount, at: performance.now() });
}

const deliveriesOf = (calls: readonly Call[]): number[] => calls.map(({ delivery }) => delivery);

function expectGaps(calls: readonly Call[], ...atLeast: number[]): void {
  atLeast.forEach((gap, i) => {
    expect(calls[i + 1]!.at - calls[i]!.at).toBeGreaterThanOrEqual(gap - ROUNDING_MS);
  });
}

test('an event that fails is delivered again after its backoff, and is a dead letter after its last delivery', async () => {
  const calls: Call[] = [];
  @Controller()
  class FailingController {
    @EventPattern<string>('fails')
    on(@Ctx() context: RedisStreamsContext): never {
      note(calls, context);
      throw new Error('as asked');
    }
  }
  await serve(options, FailingController);
  await publish('fails', { a: 1 });
  const letter = await firstDead();
  expect(deliveriesOf(calls)).toEqual([1, 2, 3]);
  expectGaps(calls, 60, 60);
  const [[id, fields]] = (await look.xrange(topic('fails'), '-', '+')) as [[string, string[]]];
  expect(letter).toEqual({
    id: expect.any(String),
    meta: {
      'dead-stream': topic('fails'),
      'dead-id': id,
      'dead-reason': 'failed',
      'dead-name': 'Error',
      'dead-message': 'Internal server error',
      'dead-deliveries': '3',
      'dead-instance': expect.stringMatching(new RegExp(`-${process.pid}-`)),
    },
    original: fields,
  });
  await settled(topic('fails'));
});

test('an event whose handler succeeds in the end is acknowledged, and is no dead letter', async () => {
  const calls: Call[] = [];
  @Controller()
  class RecoveringController {
    @EventPattern<string>('recovers')
    on(@Ctx() context: RedisStreamsContext): void {
      note(calls, context);
      if (context.deliveryCount < 3) {
        throw new Error('not yet');
      }
    }
  }
  await serve(options, RecoveringController);
  await publish('recovers');
  await eventually(() => calls.length === 3, 'the third delivery');
  await settled(topic('recovers'));
  await expect(dead()).resolves.toEqual([]);
});

test('an exponential backoff is that of the entry, and doubles', async () => {
  const calls: Call[] = [];
  @Controller()
  class ExponentialController {
    @EventPattern<string>('exponential')
    on(@Ctx() context: RedisStreamsContext): never {
      note(calls, context);
      throw new Error('as asked');
    }
  }
  const backoff = { type: 'exponential', base: 40, max: 100 } as const;
  const { server } = await serve({ ...options, retry: { maxDeliveries: 4, backoff } }, ExponentialController);
  const retried = reports(server, 'retried');
  await publish('exponential');
  await eventually(async () => (await dead()).length === 1, 'a dead letter');
  const [[id]] = (await look.xrange(topic('exponential'), '-', '+')) as [[string, string[]]];
  const delays = [1, 2, 3].map((deliveries) => backoffDelay(backoff, deliveries, id));
  expect(retried.map(({ delay }) => delay)).toEqual(delays);
  expectGaps(calls, ...delays);
});

test('a handler has retries of its own; what it does not say is as the service has it', async () => {
  const seen: Record<string, number> = { own: 0, partly: 0, service: 0 };
  const count = (name: string): never => {
    seen[name]!++;
    throw new Error('as asked');
  };
  @Controller()
  class OwnRetriesController {
    @EventPattern<string>('own', { retry: { maxDeliveries: 2, backoff: () => 5 } })
    own(): never {
      return count('own');
    }
    @EventPattern<string>('partly', { retry: { maxDeliveries: 1 } })
    partly(): never {
      return count('partly');
    }
    @EventPattern<string>('service')
    service(): never {
      return count('service');
    }
  }
  const { server } = await serve(options, OwnRetriesController);
  const retried = reports(server, 'retried');
  await Promise.all(Object.keys(seen).map((pattern) => publish(pattern)));
  await eventually(async () => (await dead()).length === 3, 'three dead letters');
  expect(seen).toEqual({ own: 2, partly: 1, service: 3 });
  expect(retried.filter(({ pattern }) => pattern === 'own').map(({ delay }) => delay)).toEqual([5]);
  expect(retried.filter(({ pattern }) => pattern === 'service').map(({ delay }) => delay)).toEqual([60, 60]);
});

test.each([
  [{ maxDeliveries: 0 }, "'maxDeliveries' must be a whole number from 1"],
  [{ backoff: { type: 'fixed' } }, "'backoff' needs 'delay'"],
  [{ attempts: 3 }, "has no setting 'attempts'"],
  [5, 'must be an object'],
])('a handler whose retries are %j does not start, and the error names its pattern', async (retry, fault) => {
  @Controller()
  class InvalidController {
    @EventPattern<string>('orders.placed', { retry })
    on(): void {
      return;
    }
  }
  const started = serve(options, InvalidController);
  await expect(started).rejects.toThrow(ConfigurationError);
  await expect(started).rejects.toThrow("Option 'retry' of the handler of 'orders.placed'");
  await expect(started).rejects.toThrow(fault);
});

describe('several handlers of an event', () => {
  test('only those that failed run again, as long as the instance lives', async () => {
    const ran: string[] = [];
    @Controller()
    class SeveralController {
      @EventPattern<string>('several')
      works(@Ctx() context: RedisStreamsContext): void {
        ran.push(`works ${context.deliveryCount}`);
      }
      @EventPattern<string>('several')
      fails(@Ctx() context: RedisStreamsContext): void {
        ran.push(`fails ${context.deliveryCount}`);
        throw new Error('as asked');
      }
      @EventPattern<string>('several')
      recovers(@Ctx() context: RedisStreamsContext): Observable<number> {
        ran.push(`recovers ${context.deliveryCount}`);
        return timer(5).pipe(
          map(() => {
            if (context.deliveryCount === 1) {
              throw new Error('not yet');
            }
            return 1;
          }),
        );
      }
    }
    await serve(options, SeveralController);
    await publish('several');
    await eventually(async () => (await dead()).length === 1, 'a dead letter');
    expect(ran).toEqual(['works 1', 'fails 1', 'recovers 1', 'fails 2', 'recovers 2', 'fails 3']);
  });

  test('each has deliveries of its own, and the one that used them up makes the event a dead letter', async () => {
    const ran: string[] = [];
    @Controller()
    class UnlikeController {
      @EventPattern<string>('unlike', { retry: { maxDeliveries: 1 } })
      once(@Ctx() context: RedisStreamsContext): never {
        ran.push(`once ${context.deliveryCount}`);
        throw new Error('as asked');
      }
      @EventPattern<string>('unlike')
      recovers(@Ctx() context: RedisStreamsContext): void {
        ran.push(`recovers ${context.deliveryCount}`);
        if (context.deliveryCount === 1) {
          throw new Error('not yet');
        }
      }
    }
    const { server } = await serve(options, UnlikeController);
    const deadLettered = reports(server, 'deadLettered');
    await publish('unlike');
    await eventually(async () => (await dead()).length === 1, 'a dead letter');
    expect(ran).toEqual(['once 1', 'recovers 1', 'recovers 2']);
    expect(deadLettered).toMatchObject([{ deliveries: 2, reason: 'failed' }]);
  });

  test('after a takeover all run again', async () => {
    const ran: string[] = [];
    @Controller()
    class TakenOverController {
      @EventPattern<string>('taken')
      works(@Ctx() context: RedisStreamsContext): void {
        ran.push(`works ${context.deliveryCount}`);
      }
      @EventPattern<string>('taken')
      fails(@Ctx() context: RedisStreamsContext): void {
        ran.push(`fails ${context.deliveryCount}`);
        if (context.deliveryCount === 1) {
          throw new Error('not yet');
        }
      }
    }
    const retry: RetryOptions = { maxDeliveries: 3, backoff: { type: 'fixed', delay: 500 } };
    const { app, server } = await serve({ ...options, retry }, TakenOverController);
    const retried = reports(server, 'retried');
    await publish('taken');
    await eventually(() => retried.length === 1, 'the event to wait');
    await app.close();
    await serve({ ...options, retry }, TakenOverController);
    await eventually(() => ran.length === 4, 'the second delivery');
    expect(ran).toEqual(['works 1', 'fails 1', 'works 2', 'fails 2']);
    await settled(topic('taken'));
  });
});

/** What is thrown, where. */
let thrown: (context: RedisStreamsContext) => unknown;
const contextOf = (context: ExecutionContext): RedisStreamsContext =>
  context.switchToRpc().getContext<RedisStreamsContext>();

function maybeThrow(context: RedisStreamsContext): void {
  const error = thrown(context);
  if (error !== undefined) {
    throw error;
  }
}

@Injectable()
class ThrowingGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    maybeThrow(contextOf(context));
    return true;
  }
}

@Injectable()
class ThrowingInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    maybeThrow(contextOf(context));
    return next.handle();
  }
}

const seen: Call[] = [];

@Controller()
class ThrowingController {
  @EventPattern<string>('handler')
  async handler(@Ctx() context: RedisStreamsContext): Promise<void> {
    note(seen, context);
    await Promise.resolve();
    maybeThrow(context);
  }
  @EventPattern<string>('observable')
  observable(@Ctx() context: RedisStreamsContext): Observable<void> {
    note(seen, context);
    return defer(() => {
      maybeThrow(context);
      return timer(1).pipe(map(() => undefined));
    });
  }
  @UseGuards(ThrowingGuard)
  @EventPattern<string>('guard')
  guard(@Ctx() context: RedisStreamsContext): void {
    note(seen, context);
  }
  @UseInterceptors(ThrowingInterceptor)
  @EventPattern<string>('interceptor')
  interceptor(@Ctx() context: RedisStreamsContext): void {
    note(seen, context);
  }
}

describe.each(['handler', 'observable', 'guard', 'interceptor'])('thrown from a %s', (place) => {
  test('RetryLater says when the event is delivered again', async () => {
    thrown = (context) => (context.deliveryCount === 1 ? new RetryLater(130) : undefined);
    seen.length = 0;
    const { server } = await serve(options, ThrowingController);
    const retried = reports(server, 'retried');
    await publish(place);
    const since = performance.now();
    await eventually(() => seen.some(({ delivery }) => delivery === 2), 'the second delivery');
    expect(performance.now() - since).toBeGreaterThan(60);
    expect(retried).toMatchObject([{ delay: 130, deliveries: 1, error: expect.any(RetryLater) }]);
    await settled(topic(place));
  });

  test('DeadLetter makes the event a dead letter at once', async () => {
    thrown = () => new DeadLetter('no such product');
    await serve(options, ThrowingController);
    await publish(place);
    const letter = await firstDead();
    expect(letter.meta).toMatchObject({
      'dead-reason': 'rejected',
      'dead-name': 'DeadLetter',
      'dead-message': 'no such product',
      'dead-deliveries': '1',
    });
    await settled(topic(place));
  });
});

test('RetryLater at the last delivery makes a dead letter', async () => {
  thrown = () => new RetryLater(5);
  seen.length = 0;
  await serve(options, ThrowingController);
  await publish('handler');
  await eventually(async () => (await dead()).length === 1, 'a dead letter');
  expect(deliveriesOf(seen)).toEqual([1, 2, 3]);
  expect((await dead())[0]!.meta).toMatchObject({ 'dead-reason': 'failed', 'dead-name': 'RetryLater' });
});

describe('by the context', () => {
  /** What the handler of `said` does at its first delivery. */
  let say: (context: RedisStreamsContext) => void;
  const calls: Call[] = [];
  @Controller()
  class SayingController {
    @EventPattern<string>('said')
    on(@Ctx() context: RedisStreamsContext): void {
      note(calls, context);
      if (context.deliveryCount === 1) {
        say(context);
      }
    }
  }
  beforeEach(() => {
    calls.length = 0;
  });

  /** The reports about an event of which this was said. */
  async function afterSaying(what: typeof say) {
    say = what;
    const { server } = await serve(options, SayingController);
    const all = { retried: reports(server, 'retried'), deadLettered: reports(server, 'deadLettered') };
    await publish('said');
    await eventually(() => all.retried.length + all.deadLettered.length > 0, 'something to become of it');
    await settled(topic('said'));
    return all;
  }

  test('retry(ms) has the event delivered again then', async () => {
    const { retried } = await afterSaying((context) => context.retry(90));
    expect(retried).toMatchObject([{ delay: 90, error: expect.any(RetryLater) }]);
    expect(deliveriesOf(calls)).toEqual([1, 2]);
    expectGaps(calls, 90);
  });

  test('retry() has it delivered again after its backoff', async () => {
    const { retried } = await afterSaying((context) => context.retry());
    expect(retried).toMatchObject([{ delay: 60 }]);
    expect(deliveriesOf(calls)).toEqual([1, 2]);
  });

  test('deadLetter() makes it a dead letter', async () => {
    const { deadLettered } = await afterSaying((context) => context.deadLetter('no such product'));
    expect(deadLettered).toMatchObject([
      { deliveries: 1, reason: 'rejected', error: expect.any(DeadLetter) },
    ]);
    expect((await dead())[0]!.meta).toMatchObject({ 'dead-message': 'no such product' });
    expect(deliveriesOf(calls)).toEqual([1]);
  });

  test('what was said counts though the handler throws afterwards', async () => {
    const { retried } = await afterSaying((context) => {
      context.retry(90);
      throw new Error('the cause');
    });
    expect(retried).toMatchObject([{ delay: 90 }]);
  });

  test('deadLetter() counts though the handler throws afterwards', async () => {
    const { deadLettered } = await afterSaying((context) => {
      context.deadLetter('no such product');
      throw new Error('the cause');
    });
    expect(deadLettered).toMatchObject([{ deliveries: 1, reason: 'rejected' }]);
  });

  test('what is no time is refused where it is said, and the event fails of that', async () => {
    let refused: unknown;
    const { retried } = await afterSaying((context) => {
      try {
        context.retry(-1);
      } catch (error) {
        refused = error;
        throw error;
      }
    });
    expect(refused).toBeInstanceOf(ConfigurationError);
    expect(retried).toMatchObject([{ delay: 60 }]);
  });

  test('ack() without manual acknowledgement says which option it needs', async () => {
    let refused: unknown;
    const { retried } = await afterSaying((context) => {
      try {
        context.ack();
      } catch (error) {
        refused = error;
        throw error;
      }
    });
    expect(refused).toBeInstanceOf(ConfigurationError);
    expect(String(refused)).toContain("acknowledge: 'manual'");
    expect(retried).toHaveLength(1);
  });

  test('of a request nothing can be said: its reply settles it', async () => {
    const faults: unknown[] = [];
    @Controller()
    class RequestController {
      @MessagePattern('ask')
      ask(@Ctx() context: RedisStreamsContext): string {
        for (const attempt of [() => context.ack(), () => context.retry(), () => context.deadLetter('why')]) {
          try {
            attempt();
          } catch (error) {
            faults.push(error);
          }
        }
        return 'answered';
      }
    }
    await serve({ ...options, acknowledge: 'manual' }, RequestController);
    const { connection, service, namespace } = options;
    await expect(firstValueFrom(connect({ connection, service, namespace }).send('ask', {}))).resolves.toBe(
      'answered',
    );
    expect(faults).toHaveLength(3);
    ['ack', 'retry', 'deadLetter'].forEach((method, i) => {
      expect(faults[i]).toBeInstanceOf(ConfigurationError);
      expect(String(faults[i])).toContain(`context.${method}() is for events; 'ask' is a request`);
    });
    await settled(inbox());
    await expect(dead()).resolves.toEqual([]);
  });
});

test.each([
  ['throws', 'the backoff function fails'],
  ['returns no time', 'the backoff function returned NaN'],
])('a backoff function that %s makes a dead letter that says so', async (how, message) => {
  @Controller()
  class FailingController {
    @EventPattern<string>('fails')
    on(): never {
      throw new Error('as asked');
    }
  }
  const lines = new Lines();
  const backoff = (): number => {
    if (how === 'throws') {
      throw new Error('the backoff function fails');
    }
    return Number.NaN;
  };
  await serveModule(
    { ...options, retry: { backoff } },
    { controllers: [FailingController] },
    { logger: lines },
  );
  await publish('fails');
  await eventually(() => lines.with(message)[0], 'a line about it');
  expect((await dead()).map(({ meta }) => meta)).toMatchObject([
    { 'dead-reason': 'failed', 'dead-message': expect.stringContaining(message), 'dead-deliveries': '1' },
  ]);
  await settled(topic('fails'));
});

describe('a message in the inbox that nobody waits for', () => {
  const calls: (Call & { pattern: string })[] = [];
  function handle(context: RedisStreamsContext, data: unknown): string {
    calls.push({ delivery: context.deliveryCount, at: performance.now(), pattern: context.pattern });
    if (data === 'fail' || context.deliveryCount === 1) {
      throw new Error('as asked');
    }
    return 'a result for nobody';
  }
  @Controller()
  class ReplayController {
    @EventPattern<string>('told')
    event(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): void {
      handle(context, data);
    }
    @MessagePattern('asked')
    request(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): string {
      return handle(context, data);
    }
  }
  beforeEach(() => {
    calls.length = 0;
  });

  test.each([
    ['an event', ['pattern', 'told']],
    ['a request', ['pattern', 'asked', 'id', 'replayed']],
  ])('%s is retried, and removed when it has succeeded', async (_, fields) => {
    await serve(options, ReplayController);
    await look.xadd(inbox(), '*', ...fields, 'data', '"once"');
    await eventually(() => calls.length === 2, 'the second delivery');
    expect(deliveriesOf(calls)).toEqual([1, 2]);
    expectGaps(calls, 60);
    await eventually(async () => (await look.xlen(inbox())) === 0, 'an empty inbox');
    await expect(dead()).resolves.toEqual([]);
  });

  test.each([
    ['an event', ['pattern', 'told']],
    ['a request', ['pattern', 'asked', 'id', 'replayed']],
  ])('%s that fails for good is a dead letter again, and removed', async (_, fields) => {
    await serve(options, ReplayController);
    await look.xadd(inbox(), '*', ...fields, 'data', '"fail"');
    await eventually(async () => (await dead()).length === 1, 'a dead letter');
    expect(deliveriesOf(calls)).toEqual([1, 2, 3]);
    await expect(look.xlen(inbox())).resolves.toBe(0);
    expect((await dead())[0]!.original).toEqual([...fields, 'data', '"fail"']);
  });
});
