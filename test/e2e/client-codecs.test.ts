import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom, of, toArray } from 'rxjs';
import { DeserializationError, MsgpackCodec, SerializationError, type Codec } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { entriesOf, heldBy, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';

let redis: RedisServer;
let inspect: Redis;
let seen: unknown[];
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  seen = [];
  await inspect.flushall();
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  inspect.disconnect();
  await redis.stop();
});

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    seen.push(data);
    return data;
  }
  @MessagePattern('many')
  many(@Payload() data: unknown) {
    return of(data, data, data);
  }
  @MessagePattern('impossible')
  impossible(): unknown {
    return { big: 1n };
  }
  @MessagePattern('circular')
  circular(): unknown {
    const value: Record<string, unknown> = {};
    value['self'] = value;
    return value;
  }
}

async function expectEcho(codec: Codec | undefined, value: unknown, expected = value): Promise<void> {
  await serve({ connection: redis.url, service: 'echo', codec }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo', codec });
  await expect(firstValueFrom(client.send('echo', value as string))).resolves.toEqual(expected);
  expect(seen).toEqual([expected]);
  await expect(lastValueFrom(client.send('many', value as string).pipe(toArray()))).resolves.toEqual([
    expected,
    expected,
    expected,
  ]);
}

const VALUES: [string, unknown][] = [
  ['zero', 0],
  ['an empty string', ''],
  ['false', false],
  ['unicode', 'grüße – 你好 👋 \u0000 \u2028'],
  ['nested objects', { a: [{ b: { c: [1, [2, [null, '']]] } }], d: {} }],
  ['a large number', Number.MAX_SAFE_INTEGER],
  ['a fraction', -1.5e-9],
];

test.each(VALUES)('JSON carries %s', async (_, value) => {
  await expectEcho(undefined, value);
});

test.each(VALUES)('msgpack carries %s', async (_, value) => {
  await expectEcho(new MsgpackCodec(), value);
});

test('JSON makes a string of a Date, as ever', async () => {
  const date = new Date(0);
  await expectEcho(undefined, { date }, { date: '1970-01-01T00:00:00.000Z' });
});

test.each<[string, unknown]>([
  ['a Buffer', { bytes: Buffer.from([0, 255, 13, 10]) }],
  ['a Date', { at: new Date(1_700_000_000_123) }],
  ['a BigInt', { big: 2n ** 60n }],
])('msgpack carries %s as it is', async (_, value) => {
  await expectEcho(new MsgpackCodec(), value);
  const stored = (seen[0] as Record<string, unknown>)[Object.keys(value as object)[0]!];
  expect(Object.getPrototypeOf(stored)).toBe(Object.getPrototypeOf(Object.values(value as object)[0]));
});

test('an entry names its codec, and JSON leaves the name out', async () => {
  await lastValueFrom(connect({ connection: redis.url, codec: new MsgpackCodec() }).emit('packed', { a: 1 }));
  await lastValueFrom(connect({ connection: redis.url }).emit('plain', { a: 1 }));
  const [packed] = await entriesOf(inspect, '{nest:0}:topic:packed');
  const [plain] = await entriesOf(inspect, '{nest:0}:topic:plain');
  expect(packed).toMatchObject({ codec: 'msgpack' });
  expect(plain).toEqual({ pattern: 'plain', data: '{"a":1}' });
});

test('a server with a codec of its own answers a JSON client in JSON', async () => {
  await serve({ connection: redis.url, service: 'echo', codec: new MsgpackCodec() }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo' });
  await expect(firstValueFrom(client.send('echo', { a: 1 }))).resolves.toEqual({ a: 1 });
});

test('a server that does not know the codec says so to the caller', async () => {
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo', codec: new MsgpackCodec() });
  await expect(firstValueFrom(client.send('echo', { a: 1 }))).rejects.toMatchObject({
    status: 'error',
    code: 'DESERIALIZATION',
    message: expect.stringMatching(/'msgpack'.*option 'codec'/),
  });
  expect(seen).toEqual([]);
});

test.each([
  ['a BigInt', { big: 1n }],
  ['a function', () => 1],
])('%s in JSON is a SerializationError at the caller, and nothing is sent', async (_, value) => {
  const client = connect({ connection: redis.url, service: 'echo' });
  const errors = await Promise.all(
    [firstValueFrom(client.send('echo', value)), lastValueFrom(client.emit('noted', value))].map((work) =>
      work.catch((error: unknown) => error),
    ),
  );
  for (const error of errors) {
    expect(error).toBeInstanceOf(SerializationError);
    expect(error).toMatchObject({ code: 'SERIALIZATION', message: expect.stringContaining('json') });
  }
  await expect(inspect.exists('{nest:0}:inbox:echo', '{nest:0}:topic:noted')).resolves.toBe(0);
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
});

test.each(['impossible', 'circular'])(
  'a result that JSON cannot carry (%s) is an error at the caller',
  async (pattern) => {
    await serve({ connection: redis.url, service: 'echo' }, EchoController);
    const client = connect({ connection: redis.url, service: 'echo' });
    await expect(firstValueFrom(client.send(pattern, {}))).rejects.toMatchObject({
      status: 'error',
      code: 'SERIALIZATION',
      message: expect.stringContaining(`The reply to '${pattern}'`),
    });
    await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(1);
  },
);

test('a reply that the client cannot decode is a DeserializationError, and the next request works', async () => {
  let broken = true;
  const codec: Codec = {
    name: 'custom',
    encode: (value) => Buffer.from(JSON.stringify(value)),
    decode: (bytes) => {
      if (broken) {
        throw new Error('cannot read this');
      }
      return JSON.parse(bytes.toString()) as unknown;
    },
  };
  await serve(
    {
      connection: redis.url,
      service: 'echo',
      codec: { ...codec, decode: (bytes) => JSON.parse(bytes.toString()) as unknown },
    },
    EchoController,
  );
  const client = connect({ connection: redis.url, service: 'echo', codec });
  const error: unknown = await firstValueFrom(client.send('echo', 1)).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DeserializationError);
  expect((error as Error).message).toMatch(/The reply to 'echo'.*custom: cannot read this/);
  broken = false;
  await expect(firstValueFrom(client.send('echo', 2))).resolves.toBe(2);
});
