import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { Observable, firstValueFrom, lastValueFrom, of, throwError, timer, map, toArray } from 'rxjs';
import { REDIS_STREAMS, RedisStreamsContext, type RedisStreamsServer } from '../../../lib/index.js';
import { closeAll, connect, inspect, Lines, serveModule } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { eventually } from '../../support/wait.js';

const trace: string[] = [];

@Controller()
class HookedController {
  @MessagePattern('value')
  value(@Payload() data: unknown): unknown {
    trace.push('handler');
    return data;
  }
  @MessagePattern('stream')
  stream(): Observable<number> {
    return timer(0, 2).pipe(
      map((i) => {
        trace.push(`value ${i}`);
        return i;
      }),
      (values) =>
        new Observable((subscriber) => {
          const subscription = values.subscribe((i) => {
            subscriber.next(i);
            if (i === 2) {
              subscriber.complete();
            }
          });
          return () => subscription.unsubscribe();
        }),
    );
  }
  @MessagePattern('fails')
  fails(): Observable<never> {
    return throwError(() => new Error('as asked'));
  }
  @EventPattern<string>('told')
  first(): void {
    trace.push('first');
  }
  @EventPattern<string>('told')
  second(): Observable<number> {
    return timer(5).pipe(map(() => trace.push('second')));
  }
  @EventPattern<string>('told-and-fails')
  third(): never {
    throw new Error('as asked');
  }
}

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(() => {
  trace.length = 0;
});
afterEach(closeAll);
afterAll(() => redis.stop());

const options = () => ({ connection: redis.url, service: 'hooked' });

async function serveHooked(prepare: (server: RedisStreamsServer) => void, logger = new Lines()) {
  await serveModule(
    options(),
    { controllers: [HookedController] },
    { logger, prepare: (_app, server) => prepare(server) },
  );
  return connect(options());
}

const starts = (server: RedisStreamsServer): void =>
  server.setOnProcessingStartHook((transport, context, done) => {
    trace.push(`start ${String(transport === REDIS_STREAMS)} ${(context as RedisStreamsContext).pattern}`);
    void done();
  });
const ends = (server: RedisStreamsServer): void =>
  server.setOnProcessingEndHook((transport, context) =>
    trace.push(`end ${String(transport === REDIS_STREAMS)} ${(context as RedisStreamsContext).pattern}`),
  );
const both = (server: RedisStreamsServer): void => {
  starts(server);
  ends(server);
};

test('the processing hooks are called once around a request', async () => {
  const client = await serveHooked(both);
  await expect(firstValueFrom(client.send('value', 1))).resolves.toBe(1);
  expect(trace).toEqual(['start true value', 'handler', 'end true value']);
});

test('the end hook is called once, when a stream has given its last value', async () => {
  const client = await serveHooked(both);
  await expect(lastValueFrom(client.send('stream', {}).pipe(toArray()))).resolves.toEqual([0, 1, 2]);
  expect(trace).toEqual(['start true stream', 'value 0', 'value 1', 'value 2', 'end true stream']);
});

test('the end hook is called for a request that fails', async () => {
  const client = await serveHooked(both);
  await expect(firstValueFrom(client.send('fails', {}))).rejects.toBeDefined();
  expect(trace).toEqual(['start true fails', 'end true fails']);
});

test('one hook of the two is enough', async () => {
  const client = await serveHooked(ends);
  await expect(firstValueFrom(client.send('value', 1))).resolves.toBe(1);
  expect(trace).toEqual(['handler', 'end true value']);
});

test('hooks are called once for an event, whatever the number of its handlers, when all have ended', async () => {
  const client = await serveHooked(both);
  client.emit('told', {});
  await eventually(() => trace.includes('end true told'), 'the end hook');
  expect(trace).toEqual(['start true told', 'first', 'second', 'end true told']);
});

test('hooks are called once for an event that fails', async () => {
  const client = await serveHooked(both);
  client.emit('told-and-fails', {});
  await eventually(() => trace.includes('end true told-and-fails'), 'the end hook');
  expect(trace).toEqual(['start true told-and-fails', 'end true told-and-fails']);
});

test('a start hook may run its work later and return nothing', async () => {
  const client = await serveHooked((server) => {
    server.setOnProcessingStartHook((_transport, _context, done) => {
      setImmediate(() => {
        trace.push('late');
        void done();
      });
    });
    ends(server);
  });
  await expect(firstValueFrom(client.send('value', 'x'))).resolves.toBe('x');
  expect(trace).toEqual(['late', 'handler', 'end true value']);
  const look = inspect(redis.url);
  await eventually(async () => (await look.xlen('{nest:0}:inbox:hooked')) === 0, 'an empty inbox');
});

test('what a hook returns neither settles a message nor fails it', async () => {
  const client = await serveHooked((server) => {
    server.setOnProcessingStartHook(
      (_transport: unknown, _context: unknown, done: () => Promise<unknown>) => {
        setImmediate(() => void done());
        return 'something';
      },
    );
  });
  await expect(firstValueFrom(client.send('value', 'x'))).resolves.toBe('x');
  client.emit('told', {});
  await eventually(() => trace.includes('second'), 'the slow handler of the event');
});

test('a start hook that throws is an error for the caller, and the next request is answered', async () => {
  let calls = 0;
  const lines = new Lines();
  const client = await serveHooked(
    (server) =>
      server.setOnProcessingStartHook((_transport, _context, done) => {
        if (++calls === 1) {
          throw new Error('the hook fails');
        }
        void done();
      }),
    lines,
  );
  await expect(firstValueFrom(client.send('value', 1))).rejects.toEqual({
    status: 'error',
    message: 'Internal server error',
  });
  await expect(firstValueFrom(client.send('value', 2))).resolves.toBe(2);
  expect(lines.with('the hook fails')).toHaveLength(1);
});

test('an end hook that throws does not make a failure of what has succeeded', async () => {
  const lines = new Lines();
  const client = await serveHooked(
    (server) =>
      server.setOnProcessingEndHook(() => {
        throw new Error('the end hook fails');
      }),
    lines,
  );
  await expect(firstValueFrom(client.send('value', 1))).resolves.toBe(1);
  await expect(lastValueFrom(client.send('stream', {}).pipe(toArray()))).resolves.toEqual([0, 1, 2]);
  expect(lines.with('the end hook fails')).toHaveLength(2);
});

test('a handler without interceptors is called with data and context of its own message', async () => {
  const contexts = new Set<unknown>();
  const client = await serveHooked((server) =>
    server.setOnProcessingEndHook((_transport, context) => contexts.add(context)),
  );
  await Promise.all([1, 2, 3].map((i) => firstValueFrom(client.send('value', i))));
  await firstValueFrom(of(0));
  expect(contexts.size).toBe(3);
});
