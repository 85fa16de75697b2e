import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { ConnectError } from '../../lib/index.js';
import { closeAll, connect } from '../support/app.js';
import { expectRoles, inspector } from '../support/counting.js';
import { Proxy } from '../support/proxy.js';
import { freePort, RedisServer } from '../support/redis-server.js';

let redis: RedisServer;
let inspect: Redis;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  inspect.disconnect();
  await redis.stop();
});

async function errorOf(work: Promise<unknown>): Promise<Error> {
  return work.then(
    () => {
      throw new Error('It did not fail');
    },
    (error: unknown) => error as Error,
  );
}

test('connect() rejects within connectTimeout while Redis is away, and says where it looked, without the password', async () => {
  const port = await freePort();
  const client = connect({
    connection: `redis://someone:pa55word@127.0.0.1:${port}`,
    connectTimeout: 200,
    service: 'math',
  });
  const before = performance.now();
  const error = await errorOf(client.connect());
  const took = performance.now() - before;
  expect(error).toBeInstanceOf(ConnectError);
  expect(error).toMatchObject({ code: 'CONNECT' });
  expect(error.message).toContain(`127.0.0.1:${port}`);
  expect(error.message).toContain('200 ms');
  expect(error.message).toContain('ECONNREFUSED');
  expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toContain('pa55word');
  expect(took).toBeGreaterThanOrEqual(190);
  expect(took).toBeLessThan(1_500);
});

test('send() and emit() fail with the same error while Redis has never been there', async () => {
  const port = await freePort();
  const client = connect({ connection: { host: '127.0.0.1', port }, connectTimeout: 100, service: 'math' });
  const [sent, emitted] = await Promise.all([
    errorOf(firstValueFrom(client.send('sum', [1]))),
    errorOf(lastValueFrom(client.emit('noted', 1))),
  ]);
  expect(sent).toBeInstanceOf(ConnectError);
  // One attempt for both.
  expect(emitted).toBe(sent);
});

test('a client that could not connect works once Redis is there', async () => {
  const late = await RedisServer.start();
  try {
    await late.kill();
    const client = connect({ connection: late.url, connectTimeout: 100 });
    await expect(client.connect()).rejects.toBeInstanceOf(ConnectError);
    await expect(client.connect()).rejects.toBeInstanceOf(ConnectError);
    await late.start();
    await client.connect();
    await lastValueFrom(client.emit('noted', 1));
    const look = inspector(late.url);
    await expect(look.xlen('{nest:0}:topic:noted')).resolves.toBe(1);
    await expectRoles(look, 'commands', 'replies');
    await client.close();
    look.disconnect();
  } finally {
    await late.stop();
  }
});

test('connect() waits for a Redis that comes up within connectTimeout', async () => {
  const late = await RedisServer.start();
  try {
    await late.kill();
    const client = connect({ connection: late.url, connectTimeout: 10_000 });
    const connecting = client.connect();
    await late.start();
    await connecting;
    await client.close();
  } finally {
    await late.stop();
  }
});

test('calls to connect() while it connects, and afterwards, share one attempt', async () => {
  const proxy = await Proxy.start(redis.port);
  const client = connect({ connection: proxy.url });
  await Promise.all([client.connect(), client.connect(), client.connect()]);
  await client.connect();
  // One for commands and one for replies.
  expect(proxy.connections).toBe(2);
  await client.close();
  await proxy.stop();
});

test.each([
  ['a wrong password', '>right', 'wrong', /WRONGPASS/],
  ['a user that is off', 'off', 'right', /WRONGPASS/],
])('%s fails at once, not after connectTimeout', async (_, rule, password, reason) => {
  await inspect.acl('SETUSER', 'clerk', 'reset', 'on', '~*', '&*', '+@all', '>right', rule);
  const client = connect({
    connection: `redis://clerk:${password}@127.0.0.1:${redis.port}`,
    connectTimeout: 15_000,
  });
  const before = performance.now();
  const error = await errorOf(client.connect());
  expect(performance.now() - before).toBeLessThan(5_000);
  expect(error).toBeInstanceOf(ConnectError);
  expect(error.message).toMatch(reason);
  expect(error.message).not.toContain(password);
});

test('a Redis that wants a password, and gets none, is reported at once', async () => {
  const locked = await RedisServer.start('--requirepass', 'secret');
  try {
    const client = connect({ connection: locked.url, connectTimeout: 15_000 });
    const before = performance.now();
    const error = await errorOf(client.connect());
    expect(performance.now() - before).toBeLessThan(5_000);
    expect(error).toBeInstanceOf(ConnectError);
    expect(error.message).toContain('NOAUTH');
  } finally {
    await locked.stop();
  }
});

test('a Redis whose connection for replies cannot be opened is reported within connectTimeout', async () => {
  const port = await freePort();
  const client = connect({
    connection: (options) =>
      new Redis({
        ...options,
        host: '127.0.0.1',
        port: options.connectionName!.endsWith(':replies') ? port : redis.port,
      }),
    connectTimeout: 200,
  });
  const error = await errorOf(client.connect());
  expect(error).toBeInstanceOf(ConnectError);
  expect(error.message).toContain('replies');
  await expectRoles(inspect);
});

test('a connection that is lost while the client sets up is a ConnectError, and can be tried again', async () => {
  const proxy = await Proxy.start(redis.port);
  try {
    const client = connect({ connection: proxy.url, connectTimeout: 1_000 });
    // Within the answers to what the client asks first, behind ioredis' own handshake and INFO.
    const handshake = await handshakeBytes(proxy);
    proxy.cutAfter('to-client', handshake + 200);
    await client.connect().catch((error: unknown) => {
      expect(error).toBeInstanceOf(ConnectError);
    });
    expect(proxy.isArmed).toBe(false);
    await client.connect();
    await lastValueFrom(client.emit('noted', 1));
    await client.close();
  } finally {
    await proxy.stop();
  }
});

/** What Redis answers to a bare ioredis until that is ready. */
async function handshakeBytes(proxy: Proxy): Promise<number> {
  const bare = inspector(proxy.url);
  await bare.ping();
  const bytes = proxy.passed('to-client');
  bare.disconnect();
  await once(bare, 'end');
  return bytes;
}

test('a maxmemory-policy that may delete streams is warned of', async () => {
  const evicting = await RedisServer.start('--maxmemory-policy', 'allkeys-lru');
  const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
  try {
    const client = connect({ connection: evicting.url });
    await client.connect();
    const lines = warn.mock.calls.map(([line]) => String(line));
    expect(lines).toEqual([expect.stringMatching(/maxmemory-policy 'allkeys-lru'.*'noeviction'/)]);
    await client.close();
    warn.mockClear();
    const quiet = connect({ connection: redis.url });
    await quiet.connect();
    expect(warn).not.toHaveBeenCalled();
  } finally {
    warn.mockRestore();
    await evicting.stop();
  }
});
