import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { LayoutMismatchError, QueueFullError, RedisStreamsDeadLetters } from '../../../lib/index.js';
import { closeAll, connect, inspect, onClose, serve } from '../../support/app.js';
import { heldBy } from '../../support/counting.js';
import { RedisServer } from '../../support/redis-server.js';
import { eventually } from '../../support/wait.js';

let redis: RedisServer;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
});
beforeEach(() => inspect(redis.url).flushall());
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await redis.stop();
});

@Controller()
class PingController {
  @MessagePattern('ping')
  ping(): string {
    return 'pong';
  }
}

function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'it did not fail',
    (error: unknown) => error,
  );
}

describe.each([
  [3, 1],
  [1, 3],
  [3, 2],
])('in a namespace of %i shards', (has, wants) => {
  const kinds: [string, (shards: number) => Promise<unknown>][] = [
    ['a server', (shards) => serve({ connection: redis.url, service: 's', shards }, PingController)],
    ['a client', (shards) => connect({ connection: redis.url, service: 's', shards }).connect()],
    [
      'RedisStreamsDeadLetters',
      (shards) => {
        const letters = new RedisStreamsDeadLetters({ connection: redis.url, service: 's', shards });
        onClose(() => letters.close());
        return letters.count();
      },
    ],
  ];

  test.each(kinds)(`%s with ${wants} does not start, and says what to do`, async (_, start) => {
    await connect({ connection: redis.url, shards: has }).connect();
    const before = (await inspect(redis.url).keys('*')).filter((key) => !key.includes('replies')).sort();
    const error = await errorOf(start(wants));
    expect(error).toBeInstanceOf(LayoutMismatchError);
    expect(String(error)).toContain(`has ${has} shards (key '{nest:0}:layout')`);
    expect(String(error)).toContain(`expects ${wants}`);
    expect(String(error)).toContain('shards: ' + has);
    expect(String(error)).toContain('RedisStreamsLayout');
    // Nothing was written by whoever does not belong here.
    const after = (await inspect(redis.url).keys('*')).filter((key) => !key.includes('replies')).sort();
    expect(after).toEqual(before);
  });
});

test('maxQueued counts what waits for all shards together, and the error names it', async () => {
  const other = await RedisServer.start('--appendonly', 'yes');
  onClose(() => other.stop());
  const client = connect({ connection: other.url, service: 's', shards: 3, maxQueued: 5, timeout: 10_000 });
  await client.connect();
  await other.kill();
  await eventually(() => !client['session'].namespace.root.commands.isReady, 'the loss to be noticed');
  // In different shards; requests are in whichever.
  const stored = ['told', 'told.a', 'told.b', 'told.c'].map((pattern) =>
    lastValueFrom(client.emit(pattern, {})),
  );
  const request = errorOf(firstValueFrom(client.send('ping', {})));
  await eventually(() => heldBy(client).queued === 5, 'five to wait');
  for (const work of [
    firstValueFrom(client.send('ping', {})),
    lastValueFrom(client.emit('told', {})),
    lastValueFrom(client.emit('told.c', {})),
  ]) {
    const error = await errorOf(work);
    expect(error).toBeInstanceOf(QueueFullError);
    expect(error).toMatchObject({ maxQueued: 5 });
  }
  await other.start();
  await expect(Promise.all(stored)).resolves.toEqual(stored.map(() => undefined));
  await client.close();
  await request;
});
