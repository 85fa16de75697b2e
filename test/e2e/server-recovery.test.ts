import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { closeAll, connect, inspect, Lines, serveModule } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const INBOX = '{nest:0}:inbox:back';
const TOPIC = '{nest:0}:topic:told';

/** XREADGROUP and XGROUP that a loop which spins would exceed at once: they are a handful for each recovery. */
const CALM = 60;

const told = new Set<number>();

@Controller()
class BackController {
  @MessagePattern('ask')
  ask(@Payload() data: unknown): unknown {
    return data;
  }
  @EventPattern('told')
  on(@Payload() data: number): void {
    told.add(data);
  }
}

let redis: RedisServer;
let look: Redis;
let lines: Lines;
let options: { connection: string; service: string };
beforeAll(async () => {
  redis = await RedisServer.start();
  options = { connection: redis.url, service: 'back' };
});
beforeEach(async () => {
  told.clear();
  lines = new Lines();
  look = inspect(redis.url);
  await look.flushall();
  await serveModule(options, { controllers: [BackController] }, { logger: lines });
});
afterEach(closeAll);
afterAll(() => redis.stop());

/** How often Redis has run a command. */
async function calls(command: string): Promise<number> {
  const stats = await look.info('commandstats');
  let count = 0;
  for (const [, name, number] of stats.matchAll(/cmdstat_([\w|]+):calls=(\d+)/g)) {
    if (name === command || name!.startsWith(`${command}|`)) {
      count += Number(number);
    }
  }
  return count;
}

const reading = async (): Promise<number> => (await calls('xreadgroup')) + (await calls('xgroup'));

/** Writes requests and events by hand, as a client that does not know what happened would. */
async function writeSome(from: number, count: number): Promise<void> {
  for (let i = from; i < from + count; i++) {
    await look.xadd(TOPIC, '*', 'pattern', 'told', 'data', String(i));
  }
}

test.each<[string, () => Promise<unknown>]>([
  [
    'XGROUP DESTROY',
    () => Promise.all([look.xgroup('DESTROY', INBOX, 'back'), look.xgroup('DESTROY', TOPIC, 'back')]),
  ],
  ['DEL', () => look.del(INBOX, TOPIC)],
  ['FLUSHALL', () => look.flushall()],
])(
  'after %s it goes on by itself, loses nothing that was written afterwards, and does not spin',
  async (_, destroy) => {
    // A client of its own each time: one that lost its reply stream makes it again within BLOCK, which takes longer.
    const ask = (data: number): Promise<unknown> =>
      firstValueFrom(connect(options).send<unknown>('ask', data));
    await expect(ask(0)).resolves.toBe(0);
    await writeSome(0, 1);
    await eventually(() => told.size === 1, 'the first event');
    await look.config('RESETSTAT');
    await destroy();
    await writeSome(1, 20);
    await expect(ask(1)).resolves.toBe(1);
    await eventually(() => told.size === 21, 'all events');
    await expect(reading()).resolves.toBeLessThan(CALM);
    // Again, at once: a recovery leaves nothing behind that would keep the next one from working.
    await destroy();
    await writeSome(21, 20);
    await expect(ask(2)).resolves.toBe(2);
    await eventually(() => told.size === 41, 'all events again');
    await expect(reading()).resolves.toBeLessThan(2 * CALM);
    // One line for each time and reader.
    expect(lines.with('failed').length).toBeGreaterThan(0);
    expect(lines.with('failed').length).toBeLessThanOrEqual(4);
  },
);

test('after FLUSHALL the instance is registered again', async () => {
  const [instance] = await look.hkeys('{nest:0}:instances:back');
  await look.flushall();
  await expect(firstValueFrom(connect(options).send('ask', 1))).resolves.toBe(1);
  await eventually(
    async () => (await look.hexists('{nest:0}:instances:back', instance!)) === 1,
    'the instance',
  );
});

test('an event written to a stream that lost its group before anybody noticed is handled, and those before it again at most', async () => {
  await writeSome(0, 5);
  await eventually(() => told.size === 5, 'the first events');
  await look.multi().xgroup('DESTROY', TOPIC, 'back').xadd(TOPIC, '*', 'pattern', 'told', 'data', '5').exec();
  await eventually(() => told.has(5), 'the event');
  const [group] = (await look.xinfo('GROUPS', TOPIC)) as unknown[][];
  expect(group![group!.indexOf('entries-read') + 1]).toBe(6);
});

test('while a group cannot be made again it is tried ever more rarely, and works when it can', async () => {
  await look.config('RESETSTAT');
  await look.multi().del(INBOX).set(INBOX, 'in the way').exec();
  const since = performance.now();
  await eventually(async () => (await calls('xreadgroup')) >= 6, 'several attempts', 10_000);
  // 50, 100, 200, 400 and 800 ms lie between them.
  expect(performance.now() - since).toBeGreaterThan(1_000);
  await look.del(INBOX);
  await expect(firstValueFrom(connect(options).send('ask', 'back'))).resolves.toBe('back');
  expect(lines.with('Reading (inbox) failed')).toHaveLength(1);
  await eventually(() => lines.with('Reading (inbox) works again')[0], 'a line that it works again');
});

test('an idle server costs Redis next to nothing', async () => {
  // Two readers that block for 5 s, and a look at the layout every 30 s.
  await look.config('RESETSTAT');
  const since = performance.now();
  await eventually(async () => (await calls('xreadgroup')) >= 2, 'the reads to have come round', 7_000);
  expect(performance.now() - since).toBeGreaterThan(3_000);
  await expect(calls('xack')).resolves.toBe(0);
  await expect(calls('xgroup')).resolves.toBe(0);
});
