import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import type { Deserializer, Serializer } from '@nestjs/microservices';
import { IncomingRequestDeserializer } from '@nestjs/microservices/deserializers/incoming-request.deserializer.js';
import { IncomingResponseDeserializer } from '@nestjs/microservices/deserializers/incoming-response.deserializer.js';
import { IdentitySerializer } from '@nestjs/microservices/serializers/identity.serializer.js';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom, of, throwError, toArray } from 'rxjs';
import { MsgpackCodec } from '../../lib/index.js';
import type { RedisStreamsClient, RedisStreamsConnectionOptions } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { heldBy, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, type Deferred } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
let noted: Deferred<unknown>;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  noted = deferred();
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
    return data;
  }
  @MessagePattern({ cmd: 'many' })
  many() {
    return of(1, 2, 3, 4, 5);
  }
  @MessagePattern('nothing')
  nothing(): void {
    // Completes without a value.
  }
  @MessagePattern('fail')
  fail() {
    return throwError(() => new RpcException({ code: 7 }));
  }
  @EventPattern('noted')
  noted(@Payload() data: unknown): void {
    noted.resolve(data);
  }
}

type Packets = Pick<RedisStreamsConnectionOptions, 'serializer' | 'deserializer' | 'codec'>;

async function pair(onServer: Packets, onClient: Packets): Promise<RedisStreamsClient> {
  await serve({ connection: redis.url, service: 'echo', ...onServer }, EchoController);
  return connect({ connection: redis.url, service: 'echo', timeout: 5_000, ...onClient });
}

/** Everything that may come back. */
async function expectAll(client: RedisStreamsClient): Promise<void> {
  await expect(firstValueFrom(client.send('echo', { a: [1, null] }))).resolves.toEqual({ a: [1, null] });
  for (const value of [0, '', false]) {
    await expect(firstValueFrom(client.send('echo', value))).resolves.toBe(value);
  }
  await expect(lastValueFrom(client.send({ cmd: 'many' }, {}).pipe(toArray()))).resolves.toEqual([
    1, 2, 3, 4, 5,
  ]);
  await expect(lastValueFrom(client.send('nothing', {}), { defaultValue: 'empty' })).resolves.toBe('empty');
  await expect(firstValueFrom(client.send('fail', {}))).rejects.toEqual({ code: 7 });
  await lastValueFrom(client.emit('noted', { n: 1 }));
  await expect(noted.promise).resolves.toEqual({ n: 1 });
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
}

const identity: Packets = { serializer: new IdentitySerializer() };
/** Each takes longer than the one after it, so that they would end in the wrong order if nobody kept it. */
function later<T>(value: T): Promise<T> {
  wait = Math.max(0, wait - 5);
  return new Promise((resolve) => setTimeout(() => resolve(value), wait));
}
let wait = 0;
const slowSerializer: Serializer = { serialize: (value: unknown) => later(value) };
const slowRequests: Deserializer = {
  deserialize: (value: unknown) => later(new IncomingRequestDeserializer().deserialize(value)),
};
const slowResponses: Deserializer = {
  deserialize: (value: unknown) => later(new IncomingResponseDeserializer().deserialize(value)),
};

beforeEach(() => {
  wait = 40;
});

test.each<[string, Packets, Packets]>([
  ['neither side', {}, {}],
  [
    "both sides, with Nest's default classes",
    { ...identity, deserializer: new IncomingRequestDeserializer() },
    { ...identity, deserializer: new IncomingResponseDeserializer() },
  ],
  ['the client only', {}, { ...identity, deserializer: new IncomingResponseDeserializer() }],
  ['the server only', { ...identity, deserializer: new IncomingRequestDeserializer() }, {}],
  ["the client's serializer only", {}, identity],
  ["the server's serializer only", identity, {}],
  ["the client's deserializer only", {}, { deserializer: new IncomingResponseDeserializer() }],
  ["the server's deserializer only", { deserializer: new IncomingRequestDeserializer() }, {}],
  [
    'both sides, asynchronous',
    { serializer: slowSerializer, deserializer: slowRequests },
    { serializer: slowSerializer, deserializer: slowResponses },
  ],
  ['the client only, asynchronous', {}, { deserializer: slowResponses }],
  ['the server only, asynchronous', { serializer: slowSerializer, deserializer: slowRequests }, {}],
])(
  "with Nest's serializers on %s everything arrives, streamed values in their order",
  async (_, onServer, onClient) => {
    await expectAll(await pair(onServer, onClient));
  },
);

test('a packet is what a serializer is given, and what a deserializer gives back is used', async () => {
  const serialized: unknown[] = [];
  const client = await pair(
    {
      deserializer: {
        deserialize: (packet: { pattern: unknown; data: { secret: number } }) => ({
          ...packet,
          data: packet.data.secret + 1,
        }),
      },
      serializer: {
        serialize: (packet: { response: number }) => ({ ...packet, response: packet.response * 10 }),
      },
    },
    {
      serializer: {
        serialize: (packet: { pattern: unknown; data: unknown }) => {
          serialized.push(structuredClone(packet));
          return { ...packet, data: { secret: packet.data } };
        },
      },
      deserializer: {
        deserialize: (packet: { response: number }) => ({ ...packet, response: packet.response + 5 }),
      },
    },
  );
  await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(25);
  expect(serialized).toEqual([expect.objectContaining({ pattern: 'echo', data: 1 })]);
});

test('a serializer and a codec work together', async () => {
  const codec = new MsgpackCodec();
  const client = await pair({ ...identity, codec }, { ...identity, codec });
  await expect(firstValueFrom(client.send('echo', { bytes: Buffer.from([0, 255]) }))).resolves.toEqual({
    bytes: Buffer.from([0, 255]),
  });
});

const broken = {
  serialize: () => {
    throw new Error('cannot serialize');
  },
  deserialize: async () => Promise.reject(new Error('cannot deserialize')),
};

test("a client's serializer or deserializer that fails is an error at the caller", async () => {
  const sends = await pair({}, { serializer: broken });
  await expect(firstValueFrom(sends.send('echo', 1))).rejects.toThrow('cannot serialize');
  await expect(lastValueFrom(sends.emit('noted', 1))).rejects.toThrow('cannot serialize');
  const receives = connect({ connection: redis.url, service: 'echo', deserializer: broken });
  await expect(firstValueFrom(receives.send('echo', 1))).rejects.toThrow('cannot deserialize');
  expect(heldBy(receives).pending).toBe(0);
});

test.each<[string, Packets, object]>([
  ['deserializer', { deserializer: broken }, { status: 'error', message: 'Internal server error' }],
  ['serializer', { serializer: broken }, { status: 'error', message: 'cannot serialize' }],
])("a server's %s that fails is an error reply, not a timeout", async (_, onServer, expected) => {
  const client = await pair(onServer, {});
  await expect(firstValueFrom(client.send('echo', 1))).rejects.toMatchObject(expected);
});
