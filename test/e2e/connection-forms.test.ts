import { format } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Cluster, Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { ConfigurationError, RedisStreamsClient, RedisStreamsServer } from '../../lib/index.js';
import type { RedisConnectionOption } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { expectRoles, inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';

const TOPIC = '{nest:0}:topic:noted';

let redis: RedisServer;
let inspect: Redis;
const given: Redis[] = [];
beforeAll(async () => {
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(() => inspect.flushall());
afterEach(async () => {
  await closeAll();
  for (const instance of given.splice(0)) {
    instance.disconnect();
  }
});
afterAll(async () => {
  inspect.disconnect();
  await redis.stop();
});

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

function own(instance: Redis): Redis {
  given.push(instance);
  return instance;
}

async function expectWorks(connection: RedisConnectionOption | undefined): Promise<void> {
  await serve({ connection, service: 'echo' }, EchoController);
  const client = connect({ connection, service: 'echo' });
  await expect(firstValueFrom(client.send('echo', 1))).resolves.toBe(1);
  await lastValueFrom(client.emit('noted', 1));
}

test.each<[string, () => RedisConnectionOption]>([
  ['a URL', () => redis.url],
  ['options', () => ({ host: '127.0.0.1', port: redis.port })],
  ['an instance', () => own(new Redis(redis.url))],
  ['an instance that was never connected', () => own(new Redis(redis.url, { lazyConnect: true }))],
  ['a function', () => (options) => new Redis({ ...options, host: '127.0.0.1', port: redis.port })],
])('the connection may be %s', async (_, connection) => {
  await expectWorks(connection());
  await expect(inspect.xlen(TOPIC)).resolves.toBe(1);
  await expectRoles(inspect, 'commands', 'control', 'inbox', 'commands', 'replies');
  await closeAll();
  await expectRoles(inspect);
});

test("a given instance stays the caller's: open, unchanged, and not used for ours", async () => {
  const mine = own(new Redis(redis.url, { connectionName: 'mine', db: 0 }));
  await mine.set('key', 'value');
  const before = { ...mine.options };
  const listeners = mine.eventNames().map((name) => mine.listenerCount(name));
  const id = await mine.client('ID');
  await expectWorks(mine);
  expect({ ...mine.options }).toEqual(before);
  expect(mine.eventNames().map((name) => mine.listenerCount(name))).toEqual(listeners);
  await closeAll();
  expect(mine.status).toBe('ready');
  await expect(mine.get('key')).resolves.toBe('value');
  await expect(mine.client('ID')).resolves.toBe(id);
  await expect(mine.client('GETNAME')).resolves.toBe('mine');
});

test('the guarantees hold whatever the given options say', async () => {
  const options = {
    host: '127.0.0.1',
    port: redis.port,
    enableOfflineQueue: true,
    autoResendUnfulfilledCommands: true,
    maxRetriesPerRequest: null,
    enableAutoPipelining: true,
    lazyConnect: false,
    retryStrategy: () => null,
  };
  for (const connection of [options, own(new Redis(options))]) {
    const client = connect({ connection });
    await client.connect();
    const used = client.unwrap().options;
    expect(used).toMatchObject({
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      enableAutoPipelining: false,
    });
    expect(used.retryStrategy?.(1)).toBeGreaterThan(0);
  }
});

test('a function that does not pass its options on is refused, and told how', () => {
  const forgetful = (): Redis => own(new Redis(redis.url, { lazyConnect: true }));
  const client = new RedisStreamsClient({ connection: forgetful });
  return expect(client.connect()).rejects.toMatchObject({
    code: 'CONFIGURATION',
    message: expect.stringMatching(/must pass on the options.*new Redis\(\{ \.\.\.yours, \.\.\.options \}\)/),
  });
});

test('a function that returns something else is refused', () => {
  const client = new RedisStreamsClient({ connection: (() => ({})) as never });
  return expect(client.connect()).rejects.toThrow(/must return an ioredis instance/);
});

test('REDIS_URL is the default, and localhost:6379 where there is none', async () => {
  const before = process.env['REDIS_URL'];
  try {
    process.env['REDIS_URL'] = redis.url;
    await expectWorks(undefined);
    await expect(inspect.xlen(TOPIC)).resolves.toBe(1);
    delete process.env['REDIS_URL'];
    const client = new RedisStreamsClient({});
    const { session } = client as unknown as { session: { namespace: { address: string } } };
    expect(session.namespace.address).toBe('localhost:6379');
  } finally {
    if (before === undefined) {
      delete process.env['REDIS_URL'];
    } else {
      process.env['REDIS_URL'] = before;
    }
  }
});

test.each<[string, () => RedisConnectionOption]>([
  ['a URL', () => `${redis.url}?keyPrefix=app:`],
  ['options', () => ({ host: '127.0.0.1', port: redis.port, keyPrefix: 'app:' })],
  ['an instance', () => own(new Redis(redis.url, { keyPrefix: 'app:' }))],
])("ioredis' keyPrefix in %s is refused at once, with what to use instead", (_, connection) => {
  const option = connection();
  for (const make of [
    () => new RedisStreamsClient({ connection: option }),
    () => new RedisStreamsServer({ connection: option, service: 'echo' }),
  ]) {
    expect(make).toThrow(ConfigurationError);
    expect(make).toThrow(/keyPrefix \('app:'\).*'namespace'/);
  }
});

test("ioredis' keyPrefix from a function is refused when it connects", () => {
  const client = new RedisStreamsClient({
    connection: (options) =>
      new Redis({ ...options, host: '127.0.0.1', port: redis.port, keyPrefix: 'app:' }),
  });
  return expect(client.connect()).rejects.toThrow(/keyPrefix \('app:'\)/);
});

test('a function that makes a Cluster is refused', async () => {
  const cluster = new Cluster([{ host: '127.0.0.1', port: redis.port }], { lazyConnect: true });
  const client = new RedisStreamsClient({ connection: (() => cluster) as never });
  await expect(client.connect()).rejects.toThrow(/must return a Redis, not a Cluster/);
  cluster.disconnect();
});

test.each(['localhost:6379', 'http://127.0.0.1', ''])('%p is not a URL of a Redis', (url) => {
  const make = () => new RedisStreamsClient({ connection: url });
  expect(make).toThrow(ConfigurationError);
  expect(make).toThrow(/must begin with redis:\/\//);
});

test('a database index is kept to, in each form', async () => {
  const forms: [number, RedisConnectionOption][] = [
    [3, `${redis.url}/3`],
    [4, { host: '127.0.0.1', port: redis.port, db: 4 }],
    [5, own(new Redis(redis.url, { db: 5 }))],
  ];
  for (const [db, connection] of forms) {
    await expectWorks(connection);
    await closeAll();
    const look = own(new Redis(redis.url, { db }));
    await expect(look.xlen(TOPIC)).resolves.toBe(1);
  }
  await expect(inspect.dbsize()).resolves.toBe(0);
});

test('a database that Redis does not have is an error, not database 0', async () => {
  const client = connect({ connection: `${redis.url}/99`, service: 'echo' });
  await expect(client.connect()).rejects.toMatchObject({
    code: 'CONNECT',
    message: expect.stringContaining('database') as unknown as string,
  });
});

test('a password shows in no error, however it is printed', async () => {
  const secret = 'pa55-w0rd';
  expect(() => connect({ connection: `redis://user:${secret}@localhost:99999` })).toThrow(/not a valid URL/);
  const url = `redis://:${secret}@127.0.0.1:${redis.port}`;
  await inspect.config('SET', 'requirepass', 'another');
  try {
    const error: unknown = await connect({ connection: url })
      .connect()
      .then(
        () => undefined,
        (reason: unknown) => reason,
      );
    expect(error).toMatchObject({ code: 'CONNECT' });
    expect(format('%o', error)).not.toContain(secret);
  } finally {
    await inspect.config('SET', 'requirepass', '');
  }
});

test('options with a url, as Nest takes them, are refused, since ioredis would pass it over', () => {
  expect(() => connect({ connection: { url: 'redis://prod:6379' } as object })).toThrow(/no 'url'/);
});
