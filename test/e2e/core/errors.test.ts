import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, HttpException, NotFoundException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
} from '@nestjs/microservices';
import type { ClientProxy } from '@nestjs/microservices';
import { Observable, firstValueFrom, of, throwError } from 'rxjs';
import { RedisStreamsClient } from '../../../lib/index.js';
import { closeAll, connect, inspect, onClose, serve, testModule } from '../../support/app.js';
import { RedisServer, freePort } from '../../support/redis-server.js';
import { eventually } from '../../support/wait.js';

class CustomError extends Error {
  override name = 'CustomError';
  readonly secret = 'not for callers';
}

const circular: Record<string, unknown> = {};
circular['self'] = circular;

/** What handlers fail with. */
const FAILURES: Record<string, () => unknown> = {
  'an Error': () => new Error('hidden'),
  'an error of a class of its own': () => new CustomError('hidden'),
  'a TypeError': () => new TypeError('hidden'),
  'an HttpException': () => new HttpException({ hidden: true }, 418),
  'a NotFoundException': () => new NotFoundException('hidden'),
  'a string': () => 'just a string',
  'an object': () => ({ hidden: true }),
  'a number': () => 0,
  null: () => null,
  undefined: () => undefined,
  'RpcException of a string': () => new RpcException('said'),
  'RpcException of an empty string': () => new RpcException(''),
  'RpcException of an object': () => new RpcException({ code: 42, details: ['a', { b: null }] }),
  'RpcException of an array': () => new RpcException(['one', 'two']),
};

@Controller()
class FailingController {
  @MessagePattern('throw')
  throwIt(@Payload() name: string): never {
    throw FAILURES[name]!();
  }
  @MessagePattern('reject')
  rejectIt(@Payload() name: string): Promise<never> {
    return Promise.reject(FAILURES[name]!());
  }
  @MessagePattern('stream')
  stream(@Payload() name: string): Observable<never> {
    return throwError(FAILURES[name]!);
  }
  @MessagePattern('rpc-of-error')
  rpcOfError(): never {
    throw new RpcException(Object.assign(new Error('inner'), { code: 'E_INNER' }));
  }
  @MessagePattern('rpc-of-circular')
  rpcOfCircular(): never {
    throw new RpcException(circular);
  }
  @MessagePattern('bigint')
  bigint(): unknown {
    return { total: 10n };
  }
  @MessagePattern('circular')
  circular(): unknown {
    return circular;
  }
  @MessagePattern('circular-later')
  circularLater(): Observable<unknown> {
    return of('fine', circular, 'never sent');
  }
  @MessagePattern('function')
  function(): unknown {
    return () => undefined;
  }
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

let redis: RedisServer;
let tcp: ClientProxy;
let client: RedisStreamsClient;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  await serve({ connection: redis.url, service: 'failing' }, FailingController);
  client = connect({ connection: redis.url, service: 'failing' });
});
afterEach(closeAll);
afterAll(() => redis.stop());

/** A server and a client of Nest's own, to compare with. */
async function serveOverTcp(): Promise<void> {
  const options = { host: '127.0.0.1', port: await freePort() };
  const app = await NestFactory.createMicroservice(testModule({ controllers: [FailingController] }), {
    transport: Transport.TCP,
    options,
    logger: false,
  });
  onClose(() => app.close());
  await app.listen();
  tcp = ClientProxyFactory.create({ transport: Transport.TCP, options });
  onClose(() => tcp.close());
}

/** What a caller sees of a request, whichever way it ends. */
function outcome(from: ClientProxy, pattern: string, data: unknown): Promise<unknown> {
  return new Promise((resolve) => {
    const values: unknown[] = [];
    from.send<unknown>(pattern, data).subscribe({
      next: (value) => values.push(value),
      error: (error: unknown) => resolve({ values, error }),
      complete: () => resolve({ values }),
    });
  });
}

test('callers get what Nest’s TCP transport gives them, whatever a handler fails with', async () => {
  await serveOverTcp();
  for (const pattern of ['throw', 'reject', 'stream']) {
    for (const name of Object.keys(FAILURES)) {
      const expected = await outcome(tcp, pattern, name);
      expect({ pattern, name, outcome: await outcome(client, pattern, name) }).toEqual({
        pattern,
        name,
        outcome: expected,
      });
    }
  }
});

test('an exception is "Internal server error" for its caller', async () => {
  await expect(firstValueFrom(client.send('throw', 'an Error'))).rejects.toEqual({
    status: 'error',
    message: 'Internal server error',
  });
});

test('an RpcException of a string or an object reaches the caller as Nest has it', async () => {
  await expect(firstValueFrom(client.send('throw', 'RpcException of a string'))).rejects.toEqual({
    status: 'error',
    message: 'said',
  });
  await expect(firstValueFrom(client.send('throw', 'RpcException of an object'))).rejects.toEqual({
    code: 42,
    details: ['a', { b: null }],
  });
});

test('an RpcException of an Error, which Nest’s TCP makes an empty object, keeps name, message and code', async () => {
  await expect(firstValueFrom(client.send('rpc-of-error', {}))).rejects.toEqual({
    status: 'error',
    name: 'Error',
    message: 'inner',
    code: 'E_INNER',
  });
});

test.each(['bigint', 'circular', 'function'])(
  'a result that cannot be encoded is a SerializationError for the caller: %s',
  async (pattern) => {
    await expect(firstValueFrom(client.send(pattern, {}))).rejects.toMatchObject({
      status: 'error',
      name: 'SerializationError',
      code: 'SERIALIZATION',
      message: expect.stringContaining(`'${pattern}'`),
    });
  },
);

test('a value that cannot be encoded ends its stream with a SerializationError, after those before it', async () => {
  await expect(outcome(client, 'circular-later', {})).resolves.toMatchObject({
    values: ['fine'],
    error: { name: 'SerializationError' },
  });
});

test('an error that cannot be encoded is an error that says so', async () => {
  await expect(firstValueFrom(client.send('rpc-of-circular', {}))).rejects.toMatchObject({
    status: 'error',
    name: 'SerializationError',
  });
});

test('an unknown pattern is answered at once, in Nest’s words, as over TCP', async () => {
  await serveOverTcp();
  const expected = {
    values: [],
    error: 'There is no matching message handler defined in the remote service.',
  };
  await expect(outcome(client, 'nobody-knows', {})).resolves.toEqual(expected);
  await expect(outcome(tcp, 'nobody-knows', {})).resolves.toEqual(expected);
});

test('a payload that cannot be decoded is an error reply, and the request is settled', async () => {
  const look = inspect(redis.url);
  await look.xgroup('CREATE', 'nest:replies:by-hand', 'make', '0', 'MKSTREAM');
  const write = (id: string, ...fields: string[]): Promise<unknown> =>
    look.xadd('{nest:0}:inbox:failing', '*', 'pattern', 'echo', 'id', id, 'reply', 'by-hand', ...fields);
  await write('broken', 'data', '{"half":');
  await write('polluting', 'data', '{"__proto__":{"admin":true}}');
  await write('foreign', 'data', 'x', 'codec', 'protobuf');
  const replies = await eventually(async () => {
    const entries = await look.xrange('nest:replies:by-hand', '-', '+');
    const frames = entries.flatMap(([, fields]) => fields);
    return frames.length === 6 ? frames : undefined;
  }, 'three replies');
  const errors = Object.fromEntries(
    replies.flatMap((field, i) => (i % 2 === 0 ? [[field, JSON.parse(replies[i + 1]!) as unknown]] : [])),
  ) as Record<string, unknown>;
  for (const frame of ['ebroken', 'epolluting', 'eforeign']) {
    expect(errors[frame]).toMatchObject({
      status: 'error',
      name: 'DeserializationError',
      code: 'DESERIALIZATION',
    });
  }
  expect(errors['eforeign']).toMatchObject({ message: expect.stringMatching(/protobuf.*codec/s) });
  await eventually(async () => (await look.xlen('{nest:0}:inbox:failing')) === 0, 'an empty inbox');
});

test('no stack trace, path or inner property of an error is ever written to a reply stream', async () => {
  const look = inspect(redis.url);
  const keys: string[] = [];
  // The client trims what it has read, so that requests are written by hand, for a client that reads nothing.
  await look.xgroup('CREATE', 'nest:replies:raw', 'make', '0', 'MKSTREAM');
  const requests: [string, string][] = [
    ...['throw', 'reject', 'stream'].flatMap((pattern) =>
      Object.keys(FAILURES).map((name): [string, string] => [pattern, JSON.stringify(name)]),
    ),
    ['rpc-of-error', '{}'],
    ['rpc-of-circular', '{}'],
    ['bigint', '{}'],
    ['circular', '{}'],
    ['nobody', '{}'],
    ['echo', '{"half":'],
  ];
  for (const [i, [pattern, data]] of requests.entries()) {
    keys.push(`r${i}`);
    await look.xadd(
      '{nest:0}:inbox:failing',
      '*',
      'pattern',
      pattern,
      'data',
      data,
      'id',
      `r${i}`,
      'reply',
      'raw',
    );
  }
  const text = await eventually(async () => {
    const frames = (await look.xrange('nest:replies:raw', '-', '+')).flatMap(([, fields]) => fields);
    return keys.every((id) => frames.includes(`e${id}`)) ? frames.join('\n') : undefined;
  }, 'an error for each request');
  expect(text).not.toMatch(/\bat .+:\d+:\d+|\.[tj]s\b|node_modules|stack|hidden|not for callers/);
});

test('a failing event is nobody’s reply: nothing is written to any reply stream', async () => {
  @Controller()
  class FailingEventController {
    @EventPattern<string>('fails')
    on(): never {
      throw new RpcException('for nobody');
    }
  }
  const options = { connection: redis.url, service: 'failing-events', namespace: 'silent' };
  await serve(options, FailingEventController);
  const publisher = connect(options);
  await firstValueFrom(publisher.emit('fails', {}), { defaultValue: undefined });
  const look = inspect(redis.url);
  await eventually(
    async () => ((await look.xpending('{silent:0}:topic:fails', 'failing-events')) as [number])[0] === 1,
    'a pending event',
  );
  for (const key of await look.keys('silent:replies:*')) {
    await expect(look.xlen(key)).resolves.toBe(0);
  }
});
