import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { closeAll, connect, serve } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

const INBOX = '{nest:0}:inbox:clean';
const REQUESTS = 600;

let redis: RedisServer;
let look: Redis;

beforeAll(async () => {
  redis = await RedisServer.start();
  look = new Redis(redis.url);
});
beforeEach(async () => {
  await look.flushall();
});
afterEach(closeAll);
afterAll(async () => {
  look.disconnect();
  await redis.stop();
});

const held = deferred();

@Controller()
class CleanController {
  @MessagePattern('ask')
  async ask(@Payload() n: number): Promise<number> {
    if (n === REQUESTS / 2) {
      await held.promise;
    }
    return n;
  }
}

test('under load an inbox is trimmed up to the oldest pending request, and nothing that is needed goes', async () => {
  const monitor = await look.monitor();
  const trims: string[] = [];
  monitor.on('monitor', (_time: string, [name = '', key, ...rest]: string[]) => {
    if (name === 'xtrim' && key === INBOX) {
      trims.push(rest.join(' '));
    }
  });
  const options = { connection: redis.url, service: 'clean' };
  // Few slots, so that most requests lie undelivered behind those that are settled and trimmed.
  await serve({ ...options, concurrency: 80 }, CleanController);
  const client = connect(options);
  const answers = Array.from({ length: REQUESTS }, (_, n) => firstValueFrom(client.send<number>('ask', n)));
  const numbers = Array.from({ length: REQUESTS }, (_, n) => n);
  const others = numbers.filter((n) => n !== REQUESTS / 2);
  await expect(Promise.all(others.map((n) => answers[n]!))).resolves.toEqual(others);
  // One long request keeps only itself.
  await eventually(async () => (await look.xlen(INBOX)) === 1, 'all but the held request to be gone');
  expect((await look.xpending(INBOX, 'clean'))[0]).toBe(1);
  held.resolve();
  await expect(answers[REQUESTS / 2]).resolves.toBe(REQUESTS / 2);
  await eventually(async () => (await look.xlen(INBOX)) === 0, 'the inbox to be empty');
  expect(trims.length).toBeGreaterThan(0);
  expect(trims.every((trim) => /^MINID \d+-\d+$/.test(trim))).toBe(true);
  monitor.disconnect();
});

test.each([
  ['up to the oldest that is pending', 3],
  ['all of it where nothing is', 5],
])(
  'what an instance had acknowledged that died before it could remove it goes at the next start: %s',
  async (_, acknowledged) => {
    await look.xgroup('CREATE', INBOX, 'clean', '0', 'MKSTREAM');
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      ids.push((await look.xadd(INBOX, '*', 'pattern', 'ask', 'data', '1'))!);
    }
    await look.xreadgroup('GROUP', 'clean', 'gone', 'STREAMS', INBOX, '>');
    await look.xack(INBOX, 'clean', ...ids.slice(0, acknowledged));
    // Not delivered to anybody yet: it must not go unhandled.
    const client = connect({ connection: redis.url, service: 'clean' });
    const answer = firstValueFrom(client.send('ask', 7));
    await eventually(async () => (await look.xlen(INBOX)) === 6, 'the request');
    await serve({ connection: redis.url, service: 'clean' }, CleanController);
    await expect(answer).resolves.toBe(7);
    const left = async (): Promise<string[]> => (await look.xrange(INBOX, '-', '+')).map(([id]) => id);
    const expected = ids.slice(acknowledged);
    await eventually(async () => (await left()).length === expected.length, 'the rest to be gone');
    await expect(left()).resolves.toEqual(expected);
  },
);
