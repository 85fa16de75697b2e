import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { closeAll, connect, serve } from '../support/app.js';
import { inspector } from '../support/counting.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

/** What a client needs. No scripts, no CLIENT, no INFO, no CONFIG. */
const CLIENT_RULE =
  'on >secret ~{nest:0}:* ~nest:replies:* -@all +hello +auth +ping +multi +exec +time +hsetnx +hgetall ' +
  '+xadd +xlen +xtrim +xread +xgroup|create +xgroup|destroy +pexpire +sismember +sadd';

/** What a server needs: it keeps its lease by a script. */
const SERVER_RULE =
  'on >secret ~{nest:0}:* ~nest:replies:* -@all +hello +auth +ping +multi +exec +time +hsetnx +hgetall +hkeys ' +
  '+evalsha +eval +get +set +hget +hset +hdel +hincrby +pexpire +pttl +unlink +exists +zremrangebyscore +zrangebyscore ' +
  '+xadd +xack +xdel +xlen +xtrim +xinfo|groups +xinfo|stream +xrange +xrevrange +xpending +xclaim +xread +xreadgroup +xgroup|create +xgroup|delconsumer';

let redis: RedisServer;
let inspect: Redis;
let noted: number[];
beforeAll(async () => {
  // ioredis itself says so, once for each connection, when INFO is not allowed.
  jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  noted = [];
  await inspect.flushall();
});
afterEach(closeAll);
afterAll(async () => {
  jest.restoreAllMocks();
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
  @EventPattern('noted')
  noted(@Payload() n: number): void {
    noted.push(n);
  }
}

async function user(name: string, rule: string): Promise<string> {
  await inspect.acl('SETUSER', name, 'reset', ...rule.split(' '));
  return `redis://${name}:secret@127.0.0.1:${redis.port}`;
}

/** Commands that were refused, by Redis' own account. */
async function denied(): Promise<string[]> {
  const log = (await inspect.acl('LOG')) as unknown[];
  return log.map((entry) => {
    const flat = Array.isArray(entry) ? (entry as unknown[]) : Object.entries(entry as object).flat();
    return String(flat[flat.indexOf('object') + 1]);
  });
}

test('users with the least rights can do everything, with XADD in the place of scripts', async () => {
  await inspect.acl('LOG', 'RESET');
  await serve({ connection: await user('server', SERVER_RULE), service: 'echo' }, EchoController);
  const client = connect({ connection: await user('sender', CLIENT_RULE), service: 'echo' });
  await client.connect();
  const replies = Array.from({ length: 50 }, (_, i) => firstValueFrom(client.send<number>('echo', i)));
  const events = Array.from({ length: 50 }, (_, i) => lastValueFrom(client.emit('noted', i)));
  await Promise.all(events);
  const numbers = Array.from({ length: 50 }, (_, i) => i);
  await expect(Promise.all(replies)).resolves.toEqual(numbers);
  await eventually(() => noted.length === 50, 'all events');
  // Each was stored once, though the script for them was refused first, and in its order.
  expect(noted).toEqual(numbers);
  await expect(inspect.xlen('{nest:0}:topic:noted')).resolves.toBe(50);
  // Only what is done without was tried in vain.
  const dispensable = [
    'script|load',
    'unlink',
    'client',
    'client|id',
    'client|setinfo',
    'client|setname',
    'evalsha',
    'info',
  ];
  expect((await denied()).filter((command) => !dispensable.includes(command))).toEqual([]);
});

test('a script that is refused is not tried for ever', async () => {
  const client = connect({ connection: await user('sender', CLIENT_RULE), service: 'echo' });
  await client.connect();
  await Promise.all([1, 2].map((n) => lastValueFrom(client.emit('noted', n))));
  await inspect.config('RESETSTAT');
  for (let i = 0; i < 5; i++) {
    await Promise.all([1, 2].map((n) => lastValueFrom(client.emit('noted', n))));
  }
  expect(await inspect.info('commandstats')).not.toContain('cmdstat_evalsha');
  await expect(inspect.xlen('{nest:0}:topic:noted')).resolves.toBe(12);
});

test('a server without the right to CLIENT UNBLOCK closes when its read has run out, and leaves nothing', async () => {
  const { app } = await serve(
    { connection: await user('server', SERVER_RULE), service: 'echo' },
    EchoController,
  );
  const before = performance.now();
  await app.close();
  expect(performance.now() - before).toBeLessThan(8_000);
  // Without CLIENT SETNAME they have no names: whoever is there besides the inspector would be ours.
  const others = async (): Promise<boolean> => String(await inspect.client('LIST')).includes('user=server');
  await eventually(async () => !(await others()), 'no connection of the server');
});

test('a user that may not write into the namespace is told so by connect(), at once', async () => {
  const connection = await user('stranger', CLIENT_RULE.replace('~{nest:0}:*', '~other:*'));
  const client = connect({ connection, connectTimeout: 10_000 });
  const before = performance.now();
  const error: unknown = await client.connect().catch((reason: unknown) => reason);
  expect(performance.now() - before).toBeLessThan(5_000);
  expect(error).toMatchObject({ code: 'CONNECT', message: expect.stringContaining('NOPERM') });
});

test('an event that the user may not publish is refused, and says why', async () => {
  const rule = CLIENT_RULE.replace('+xadd ', '');
  const client = connect({ connection: await user('reader', rule) });
  await client.connect();
  await inspect.sadd('{nest:0}:topics', 'noted');
  await expect(lastValueFrom(client.emit('noted', 1))).rejects.toMatchObject({
    code: 'PUBLISH_REFUSED',
    pattern: 'noted',
    message: expect.stringContaining('NOPERM'),
  });
});
