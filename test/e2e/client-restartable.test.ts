import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { lastValueFrom, tap, toArray } from 'rxjs';
import { RedisStreamsRecordBuilder, StreamInterruptedError } from '../../lib/index.js';
import { closeAll, connect } from '../support/app.js';
import { inspector } from '../support/counting.js';
import { HandServer, type TakenRequest } from '../support/hand-server.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

let redis: RedisServer;
let inspect: Redis;
let server: HandServer;
beforeAll(async () => {
  Logger.overrideLogger(false);
  redis = await RedisServer.start();
  inspect = inspector(redis.url);
});
beforeEach(async () => {
  await inspect.flushall();
  server = await HandServer.start(inspect);
});
afterEach(closeAll);
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  inspect.disconnect();
  await redis.stop();
});

/** Sends a request whose first instance gives two values and dies; resolves when both have arrived. */
async function interrupted(
  restartable: boolean,
): Promise<{ answer: Promise<unknown[] | Error>; requests: TakenRequest[] }> {
  const client = connect({ connection: redis.url, service: 'echo' });
  const record = new RedisStreamsRecordBuilder(1).setRestartable(restartable).build();
  let arrived = 0;
  const answer = lastValueFrom(
    client.send('many', record).pipe(
      tap(() => arrived++),
      toArray(),
    ),
  ).catch((error: Error) => error);
  const requests = await server.take(1);
  await server.reply(requests, ['many', 'n', 0, '"a"'], ['many', 'n', 1, '"b"']);
  await eventually(() => arrived === 2, 'two values');
  return { answer, requests };
}

test('an answer that a second instance gives anew goes on where the first one left it', async () => {
  const { answer, requests } = await interrupted(true);
  await server.reply(requests, ['many', 'n', 0, '"a"', 2], ['many', 'n', 1, '"b"', 2]);
  await server.reply(requests, ['many', 'n', 2, '"late"', 1], ['many', 'c', 3, '', 1]);
  await server.reply(requests, ['many', 'n', 2, '"c"', 2], ['many', 'c', 3, '', 2]);
  await expect(answer).resolves.toEqual(['a', 'b', 'c']);
});

test('without setRestartable() it is an error, and no value is given twice', async () => {
  const { answer, requests } = await interrupted(false);
  await server.reply(requests, ['many', 'n', 0, '"a"', 2]);
  await expect(answer).resolves.toBeInstanceOf(StreamInterruptedError);
});

test('with fewer values than before it is an error, since what was given was not the answer', async () => {
  const { answer, requests } = await interrupted(true);
  await server.reply(requests, ['many', 'v', 0, '"a"', 2]);
  const error = await answer;
  expect(error).toBeInstanceOf(StreamInterruptedError);
  expect(String(error)).toContain('gave fewer values than before');
});
