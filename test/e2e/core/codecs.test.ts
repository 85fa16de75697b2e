import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Deserializer, Serializer } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, of, toArray, type Observable } from 'rxjs';
import {
  JsonCodec,
  MsgpackCodec,
  PayloadTooLargeError,
  SerializationError,
  type Codec,
  type RedisStreamsClientOptions,
  type RedisStreamsServerOptions,
} from '../../../lib/index.js';
import { closeAll, connect, inspect, serve } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { topicKey } from '../../support/shards.js';
import { deferred } from '../../support/wait.js';

const FIVE_MB = 5 * 1024 * 1024;

let told = deferred<unknown>();

@Controller()
class CodecController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
  @MessagePattern('null')
  null(): null {
    return null;
  }
  @MessagePattern('many')
  many(@Payload() data: unknown): Observable<unknown> {
    return of(data, data);
  }
  @MessagePattern('large')
  large(@Payload() size: number): string {
    return 'x'.repeat(size);
  }
  @EventPattern('told')
  on(@Payload() data: unknown): void {
    told.resolve(data);
  }
}

let redis: RedisServer;
let options: { connection: string; namespace: string; service: string };
let number = 0;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(() => {
  told = deferred();
  options = { connection: redis.url, namespace: `codecs-${++number}`, service: 'codecs' };
});
afterEach(closeAll);
afterAll(() => redis.stop());

async function pair(
  settings: Partial<RedisStreamsServerOptions> = {},
  clientSettings: Partial<RedisStreamsClientOptions> = settings,
) {
  await serve({ ...options, ...settings }, CodecController);
  const client = connect({ ...options, ...clientSettings });
  const ask = (pattern: string, data: unknown = {}): Promise<unknown> =>
    firstValueFrom(client.send<unknown>(pattern, data));
  return { client, ask };
}

const VALUES: [string, unknown][] = [
  ['0', 0],
  ['an empty string', ''],
  ['false', false],
  ['an empty object', {}],
  ['an empty array', []],
  ['unicode', { ключ: '値 🎈 \u0000 \u2028' }],
  ['deep', { a: [{ b: { c: [null, { d: -1.25e-7 }] } }] }],
  [
    'something like a packet',
    { id: 1, pattern: 'x', data: 2, response: 3, err: 4, isDisposed: true, status: 'ok' },
  ],
  ['harmless words', { text: '__proto__ and "constructor"' }],
];

test.each(VALUES)('JSON carries %s there and back, and in an event', async (_, value) => {
  const { client, ask } = await pair();
  await expect(ask('echo', value)).resolves.toEqual(value);
  client.emit('told', value);
  await expect(told.promise).resolves.toEqual(value);
});

test.each(VALUES)('MessagePack carries %s there and back, and in an event', async (_, value) => {
  const { client, ask } = await pair({ codec: new MsgpackCodec() });
  await expect(ask('echo', value)).resolves.toEqual(value);
  client.emit('told', value);
  await expect(told.promise).resolves.toEqual(value);
});

test('null comes back as null, with either codec', async () => {
  await expect((await pair()).ask('null')).resolves.toBeNull();
  options = { ...options, service: 'packed' };
  await expect((await pair({ codec: new MsgpackCodec() })).ask('null')).resolves.toBeNull();
});

test('a Date is a string with JSON and a Date with MessagePack', async () => {
  const date = new Date(1_700_000_000_123);
  await expect((await pair()).ask('echo', { date })).resolves.toEqual({ date: date.toISOString() });
  options = { ...options, service: 'packed' };
  await expect((await pair({ codec: new MsgpackCodec() })).ask('echo', { date })).resolves.toEqual({ date });
});

test('bytes survive MessagePack, in requests, streams and events', async () => {
  const { client, ask } = await pair({ codec: new MsgpackCodec() });
  const bytes = Buffer.from([0, 255, 128, 10, 13, 0x24, 0xc3, 0x28]);
  const answer = (await ask('echo', { bytes })) as { bytes: Uint8Array };
  expect(Buffer.from(answer.bytes).equals(bytes)).toBe(true);
  const values = await lastValueFrom(client.send<Uint8Array>('many', bytes).pipe(toArray()));
  expect(values.map((value) => Buffer.from(value).equals(bytes))).toEqual([true, true]);
  client.emit('told', bytes);
  expect(Buffer.from((await told.promise) as Uint8Array).equals(bytes)).toBe(true);
});

test('5 MB go there and back', async () => {
  const { ask } = await pair();
  const text = 'ż'.repeat(FIVE_MB / 2);
  await expect(ask('echo', text)).resolves.toBe(text);
});

test('5 MB of bytes go there and back', async () => {
  const { ask } = await pair({ codec: new MsgpackCodec() });
  const bytes = Buffer.alloc(FIVE_MB, 0xfe);
  const answer = (await ask('echo', bytes)) as Uint8Array;
  expect(Buffer.from(answer).equals(bytes)).toBe(true);
});

test('a payload over the limit is refused before it is sent, with its size and the limit', async () => {
  const { client, ask } = await pair({}, { maxPayloadBytes: 100 });
  const tooLarge = 'x'.repeat(200);
  await expect(ask('echo', tooLarge)).rejects.toThrow(PayloadTooLargeError);
  await expect(ask('echo', tooLarge)).rejects.toThrow(/'echo' has 202 bytes.*'maxPayloadBytes' is 100/);
  await expect(firstValueFrom(client.emit('told', tooLarge))).rejects.toThrow(PayloadTooLargeError);
  await expect(ask('echo', 'x'.repeat(98))).resolves.toHaveLength(98);
  await expect(inspect(redis.url).exists(topicKey('told', options.namespace))).resolves.toBe(1);
  await expect(inspect(redis.url).xlen(topicKey('told', options.namespace))).resolves.toBe(0);
});

test('a reply over the limit is an error for its caller', async () => {
  const { ask } = await pair({ maxPayloadBytes: 100 }, {});
  await expect(ask('large', 200)).rejects.toMatchObject({
    status: 'error',
    name: 'PayloadTooLargeError',
    code: 'PAYLOAD_TOO_LARGE',
  });
});

test('data that the codec cannot carry is a SerializationError at the caller, and nothing is sent', async () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  const { client, ask } = await pair();
  for (const data of [{ big: 1n }, circular, () => undefined, Symbol('x')]) {
    await expect(ask('echo', data)).rejects.toThrow(SerializationError);
    await expect(firstValueFrom(client.emit('told', data))).rejects.toThrow(SerializationError);
  }
  await expect(inspect(redis.url).xlen(topicKey('told', options.namespace))).resolves.toBe(0);
});

test('payloads that would reach a prototype are refused, however they are spelled', async () => {
  await pair();
  const look = inspect(redis.url);
  const reply = `${options.namespace}:replies:attacker`;
  await look.xgroup('CREATE', reply, 'make', '0', 'MKSTREAM');
  const payloads = [
    '{"__proto__":{"polluted":true}}',
    '{"a":{"__proto__":{"polluted":true}}}',
    '{"\\u005f_proto__":{"polluted":true}}',
    '{"constructor":{"prototype":{"polluted":true}}}',
    '{"\\u0063onstructor":{"prototype":{"polluted":true}}}',
  ];
  for (const [i, data] of payloads.entries()) {
    const inbox = `{${options.namespace}:0}:inbox:codecs`;
    await look.xadd(inbox, '*', 'pattern', 'echo', 'id', `i${i}`, 'reply', 'attacker', 'data', data);
  }
  const answered = new Set<string>();
  let last = '0';
  while (answered.size < payloads.length) {
    const [stream] = (await look.xread('BLOCK', 2_000, 'STREAMS', reply, last)) ?? [];
    expect(stream).toBeDefined();
    for (const [id, fields] of stream![1]) {
      last = id;
      fields.filter((_, i) => i % 2 === 0).forEach((field) => answered.add(field));
    }
  }
  expect([...answered].sort()).toEqual(payloads.map((_, i) => `ei${i}`));
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('a codec of one’s own is used for data and replies, and a JSON client is still understood', async () => {
  class ReversedCodec implements Codec {
    readonly name = 'reversed';
    private readonly json = new JsonCodec();
    encode(value: unknown): string {
      return [...this.json.encode(value)].reverse().join('');
    }
    decode(bytes: Buffer): unknown {
      return this.json.decode(Buffer.from([...bytes.toString()].reverse().join('')));
    }
  }
  const { ask } = await pair({ codec: new ReversedCodec() });
  await expect(ask('echo', { a: 1 })).resolves.toEqual({ a: 1 });
  await expect(firstValueFrom(connect(options).send('echo', { b: 2 }))).resolves.toEqual({ b: 2 });
});

test('a client whose codec the service does not know is told so', async () => {
  const { ask } = await pair({}, { codec: new MsgpackCodec() });
  await expect(ask('echo', { a: 1 })).rejects.toMatchObject({
    name: 'DeserializationError',
    message: expect.stringContaining("'msgpack'"),
  });
});

test('Nest’s serializers and deserializers are honoured on both sides, asynchronous ones in order', async () => {
  const wrap: Serializer = { serialize: (packet: unknown) => ({ wrapped: packet }) };
  const unwrap: Deserializer = {
    deserialize: async (value: { wrapped: unknown }) => {
      await new Promise((resolve) => setImmediate(resolve));
      return value.wrapped as never;
    },
  };
  const { client, ask } = await pair({ serializer: wrap, deserializer: unwrap });
  await expect(ask('echo', { a: 1 })).resolves.toEqual({ a: 1 });
  await expect(lastValueFrom(client.send('many', 'x').pipe(toArray()))).resolves.toEqual(['x', 'x']);
  await expect(ask('nobody')).rejects.toBe(
    'There is no matching message handler defined in the remote service.',
  );
  client.emit('told', { b: 2 });
  await expect(told.promise).resolves.toEqual({ b: 2 });
});

test('a deserializer that rejects is an error for the caller, and the service goes on', async () => {
  let fails = true;
  const moody: Deserializer = {
    deserialize: (value: unknown) =>
      fails ? Promise.reject(new Error('not today')) : Promise.resolve(value as never),
  };
  const { ask } = await pair({ deserializer: moody }, {});
  await expect(ask('echo', 1)).rejects.toEqual({ status: 'error', message: 'Internal server error' });
  fails = false;
  await expect(ask('echo', 2)).resolves.toBe(2);
});

test('a serializer that fails for a reply is an error for the caller, not a wait for ever', async () => {
  const broken: Serializer = {
    serialize: () => {
      throw new Error('cannot serialize');
    },
  };
  const { ask } = await pair({ serializer: broken }, {});
  await expect(ask('echo', 1)).rejects.toMatchObject({ status: 'error', message: 'cannot serialize' });
});
