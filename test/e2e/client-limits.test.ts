import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom, timeout } from 'rxjs';
import {
  ConfigurationError,
  PayloadTooLargeError,
  RedisStreamsClient,
  StreamFullError,
} from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { entriesOf, expectRoles, heldBy, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const INBOX = '{nest:0}:inbox:echo';
const TOPIC = '{nest:0}:topic:noted';

let redis: RedisServer;
let inspect: Redis;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(() => inspect.flushall());
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
  @MessagePattern('blow up')
  blowUp(@Payload() length: number): string {
    return 'x'.repeat(length);
  }
}

function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'it did not fail',
    (error: unknown) => error,
  );
}

test('a payload of 5 MB goes there and back', async () => {
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo' });
  const text = randomBytes(2_500_000).toString('hex');
  const echoed = await firstValueFrom(client.send<{ text: string }>('echo', { text }));
  expect(echoed.text === text).toBe(true);
  await lastValueFrom(client.emit('noted', text));
  await expect(inspect.xlen(TOPIC)).resolves.toBe(1);
});

test('a payload past maxPayloadBytes is refused before anything is sent; one byte less is not', async () => {
  const client = connect({ connection: redis.url, service: 'echo', maxPayloadBytes: 100, timeout: 300 });
  // Quotes are two bytes, and each of these letters two more.
  for (const work of [
    firstValueFrom(client.send('echo', 'ä'.repeat(50))),
    lastValueFrom(client.emit('noted', 'ä'.repeat(50))),
  ]) {
    const error = await errorOf(work);
    expect(error).toBeInstanceOf(PayloadTooLargeError);
    expect(error).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', bytes: 102, maxPayloadBytes: 100 });
  }
  await expect(inspect.exists(INBOX, TOPIC)).resolves.toBe(0);
  expect(heldBy(client)).toEqual({ pending: 0, queued: 0 });
  await lastValueFrom(client.emit('noted', 'ä'.repeat(49)));
  await expect(inspect.xlen(TOPIC)).resolves.toBe(1);
});

test("a reply past the server's maxPayloadBytes is an error at the caller, at once", async () => {
  await serve({ connection: redis.url, service: 'echo', maxPayloadBytes: 1_000 }, EchoController);
  const client = connect({ connection: redis.url, service: 'echo' });
  await expect(firstValueFrom(client.send('blow up', 998))).resolves.toHaveLength(998);
  await expect(errorOf(firstValueFrom(client.send('blow up', 999)))).resolves.toMatchObject({
    status: 'error',
    code: 'PAYLOAD_TOO_LARGE',
    message: expect.stringContaining("'blow up' has 1001 bytes and 'maxPayloadBytes' is 1000"),
  });
});

test('events into a topic that is full fail with a StreamFullError, nothing is cut, and it works again when drained', async () => {
  const client = connect({ connection: redis.url, maxLength: 10 });
  await inspect.xgroup('CREATE', TOPIC, 'slow', '0', 'MKSTREAM');
  for (let i = 0; i < 10; i++) {
    await inspect.xadd(TOPIC, '*', 'pattern', 'noted', 'data', String(i));
  }
  await client.connect();
  // The length is looked at when the first event leaves, and that one may pass.
  await eventually(async () => {
    const error = await errorOf(lastValueFrom(client.emit('noted', 'late')));
    return error instanceof StreamFullError;
  }, 'a StreamFullError');
  const error = await errorOf(lastValueFrom(client.emit('noted', 'later')));
  expect(error).toMatchObject({ code: 'STREAM_FULL', stream: TOPIC, maxLength: 10 });
  const stored = (await entriesOf(inspect, TOPIC)).map(({ data }) => data);
  expect(stored.slice(0, 10)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  await inspect.xtrim(TOPIC, 'MAXLEN', 2);
  await eventually(async () => {
    const again = await errorOf(lastValueFrom(client.emit('noted', 'again')));
    return !(again instanceof StreamFullError);
  }, 'room again');
});

test('a full topic does not keep others from being published to', async () => {
  const client = connect({ connection: redis.url, maxLength: 1 });
  await inspect.xgroup('CREATE', TOPIC, 'slow', '0', 'MKSTREAM');
  await inspect.xadd(TOPIC, '*', 'pattern', 'noted', 'data', '0');
  await eventually(
    async () => (await errorOf(lastValueFrom(client.emit('noted', 1)))) instanceof StreamFullError,
    'a StreamFullError',
  );
  await lastValueFrom(client.emit('other', 1));
});

test('requests to an inbox that is full fail with a StreamFullError, and work again when a server has drained it', async () => {
  const client = connect({ connection: redis.url, service: 'echo', maxLength: 50 });
  const early = Array.from({ length: 50 }, (_, i) => firstValueFrom(client.send<number>('echo', i)));
  await eventually(async () => (await inspect.xlen(INBOX)) >= 50, 'a full inbox');
  let refused: unknown;
  await eventually(async () => {
    refused = await errorOf(firstValueFrom(client.send('echo', 'late').pipe(timeout(100))));
    return refused instanceof StreamFullError;
  }, 'a StreamFullError');
  expect(refused).toMatchObject({ code: 'STREAM_FULL', stream: INBOX, maxLength: 50 });
  expect(heldBy(client).pending).toBe(50);
  await serve({ connection: redis.url, service: 'echo' }, EchoController);
  await expect(Promise.all(early)).resolves.toHaveLength(50);
  await eventually(
    async () => (await errorOf(firstValueFrom(client.send('echo', 1)))) === 'it did not fail',
    'requests that work again',
  );
});

test('no option of a client is taken that it does not know, or with a value that it cannot use', async () => {
  const make = (options: object) => () => new RedisStreamsClient(options);
  expect(make({ servce: 'x' })).toThrow(/no option 'servce'/);
  expect(make({ timeout: 0 })).toThrow(/'timeout'.*from 1 to 2147483647 milliseconds, not 0/);
  expect(make({ maxLength: 0 })).toThrow(/'maxLength'/);
  expect(make({ maxQueued: -1 })).toThrow(/'maxQueued'/);
  expect(make({ maxPayloadBytes: 2 ** 40 })).toThrow(/'maxPayloadBytes'/);
  expect(make({ service: 'a b' })).toThrow(/'service'.*without white space and braces/);
  expect(make({ namespace: 'a{b' })).toThrow(/'namespace'/);
  expect(make({ codec: {} })).toThrow(/'codec' .*must be a Codec/);
  expect(make({ serializer: {} })).toThrow(/serialize\(\)/);
  expect(make({ timeout: 'soon' })).toThrow(ConfigurationError);
  await expectRoles(inspect);
});
