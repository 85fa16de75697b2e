import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom, of, toArray } from 'rxjs';
import { RedisStreamsRecordBuilder } from '../../lib/index.js';
import { closeAll, connect, serve } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

/**
 * Holds what client and server write against what docs/wire.md says, and against what was recorded when the format
 * was fixed: whoever breaks this test breaks every client and server that is running somewhere.
 */

const PAGE = new URL('../../docs/wire.md', import.meta.url);
const LUA = '(LUA)';
const received = deferred<unknown>();
const waiting = deferred<unknown>();

@Controller()
class OrdersController {
  @MessagePattern('order.total')
  total([a, b]: [number, number]): number {
    return a + b;
  }

  @MessagePattern({ version: 1, cmd: 'steps' })
  steps() {
    return of('a', 'b');
  }

  @MessagePattern('order.wait')
  wait(): Promise<never> {
    waiting.resolve(undefined);
    return new Promise(() => undefined);
  }

  @EventPattern('order.created')
  created(data: unknown): void {
    received.resolve(data);
  }

  @EventPattern<string>('price.changed', { broadcast: true })
  changed(): string {
    return 'dropped';
  }

  @EventPattern<string>('stock.>')
  counted(): string {
    return 'dropped';
  }
}

let redis: RedisServer;
let commands: string[];

beforeAll(async () => {
  redis = await RedisServer.start();
  commands = await record();
});
afterEach(closeAll);
afterAll(() => redis.stop());

/** All commands of a server and a client, from the first to the last, as a person would write them. */
async function record(): Promise<string[]> {
  const inspect = new Redis(redis.url);
  const monitor = await inspect.monitor();
  const seen: string[][] = [];
  monitor.on('monitor', (_time: string, args: string[], source: string) => {
    // What a script does is recorded besides the script itself.
    seen.push(source === 'lua' ? [LUA, ...args] : args);
  });
  const { app } = await serve(
    { connection: redis.url, service: 'orders', shutdownTimeout: 0 },
    OrdersController,
  );
  // Old, and so to be trimmed although it is a broadcast.
  const old = `${Date.now() - 120_000}-0`;
  await inspect.xadd('{nest:0}:topic:price.changed', old, 'pattern', 'price.changed', 'data', '1');
  const client = connect({ connection: redis.url, service: 'orders', timeout: 30_000 });
  await firstValueFrom(client.send('order.total', [5, 7]));
  const inboxIsEmpty = async (): Promise<boolean> => (await inspect.xlen('{nest:0}:inbox:orders')) === 0;
  await eventually(inboxIsEmpty, 'the first request to be removed');
  await lastValueFrom(client.send({ version: 1, cmd: 'steps' }, {}).pipe(toArray()));
  const record = new RedisStreamsRecordBuilder({ id: 'A-1' }).setHeaders({ tenant: 'x' }).build();
  await Promise.all([
    lastValueFrom(client.emit('order.created', { id: 'A-1' })),
    firstValueFrom(
      client.send('order.total', new RedisStreamsRecordBuilder([1, 2]).setHeaders({ tenant: 'x' }).build()),
    ),
  ]);
  await received.promise;
  const eventsAreSettled = async (): Promise<boolean> =>
    (await inspect.xpending('{nest:0}:topic:order.created', 'orders'))[0] === 0;
  await eventually(eventsAreSettled, 'the first event to be acknowledged');
  await lastValueFrom(client.emit('order.created', record));
  await Promise.all([
    firstValueFrom(client.send('order.total', [1, 2])),
    firstValueFrom(client.send('order.total', [3, 4])),
  ]);
  await eventually(inboxIsEmpty, 'the inbox to be empty');
  const topicIsEmpty = async (): Promise<boolean> =>
    (await inspect.xlen('{nest:0}:topic:order.created')) === 0;
  await eventually(topicIsEmpty, 'the topic to be trimmed');
  const broadcastIsCut = (): Promise<number> =>
    inspect.hexists('{nest:0}:floors', 'cut {nest:0}:topic:price.changed');
  await eventually(broadcastIsCut, 'the broadcast to be trimmed');
  const [instance = ''] = await inspect.hkeys('{nest:0}:instances:orders');
  const running = client.send('order.wait', 1).subscribe();
  await waiting.promise;
  running.unsubscribe();
  await eventually(async () => (await inspect.zcard('{nest:0}:cancelled')) === 1, 'the cancellation');
  await app.close();
  const undelivered = client.send('order.total', [9, 9]).subscribe();
  await eventually(() => seen.some((args) => args.includes('[9,9]')), 'a request in Redis');
  undelivered.unsubscribe();
  await eventually(() => seen.some(([, name]) => name?.toLowerCase() === 'xrange'), 'its deletion');
  inspect.disconnect();
  const reply = seen.find(([name, key]) => name === 'pexpire' && key?.startsWith('nest:replies:'))?.[1] ?? '';
  monitor.disconnect();
  return seen.map((args) => spell(args, reply.slice('nest:replies:'.length), instance));
}

/** A command with what differs from run to run replaced by a name for it. */
function spell(args: string[], client: string, instance: string): string {
  const random = instance.slice(-8);
  return args
    .map((arg, i) => (i === 0 || (i === 1 && args[0] === LUA) ? arg.toUpperCase() : arg))
    .join(' ')
    .replaceAll(client, '<client>')
    .replaceAll(instance, '<instance>')
    .replaceAll(random, '<random>')
    .replaceAll(/\b\d{13}-\d+/g, '<entry id>')
    .replaceAll(/\b\d{13}\b/g, '<now>')
    .replaceAll(/ ttl (29\d{3}|30000)/g, ' ttl <ttl>');
}

/** What was recorded when the format was fixed. */
const RECORDED = [
  // The layout, before anything else.
  'HSETNX {nest:0}:layout format 1',
  'HSETNX {nest:0}:layout minReader 1',
  'HSETNX {nest:0}:layout shards 1',
  'HSETNX {nest:0}:layout partitions 16',
  'HGETALL {nest:0}:layout',
  // A server, before its first read.
  '(LUA) SET {nest:0}:lease:orders:<instance> <now> PX 10000',
  '(LUA) HSET {nest:0}:instances:orders <instance> <now>',
  '(LUA) HSET {nest:0}:subscriptions orders order.created <now> 604800000',
  '(LUA) XGROUP CREATE {nest:0}:inbox:orders orders 0-0 MKSTREAM',
  '(LUA) XGROUP CREATE {nest:0}:topic:order.created orders 0-0 MKSTREAM',
  'XREADGROUP GROUP orders <instance> COUNT 48 BLOCK 5000 STREAMS {nest:0}:inbox:orders >',
  'XREADGROUP GROUP orders <instance> COUNT 64 BLOCK 5000 STREAMS {nest:0}:topic:order.created >',
  // A client, before its first request.
  'PEXPIRE nest:replies:<client> 60000',
  'XGROUP CREATE nest:replies:<client> new 0 MKSTREAM',
  'XGROUP DESTROY nest:replies:<client> new',
  'XREAD COUNT 200 BLOCK 5000 STREAMS nest:replies:<client> 0-0',
  // Requests: one alone, an object pattern, one with headers, two of a turn.
  'XADD {nest:0}:inbox:orders * pattern order.total data [5,7] id <client>-0 reply <client> ttl <ttl>',
  'XADD {nest:0}:inbox:orders * pattern {"cmd":"steps","version":1} data {} id <client>-1 reply <client> ttl <ttl>',
  'XADD {nest:0}:inbox:orders * pattern order.total data [1,2] id <client>-2 reply <client> ttl <ttl> headers {"tenant":"x"}',
  '(LUA) XADD {nest:0}:inbox:orders * reply <client> ttl <ttl> pattern order.total data [1,2] id <client>-3',
  '(LUA) XADD {nest:0}:inbox:orders * reply <client> ttl <ttl> pattern order.total data [3,4] id <client>-4',
  // Replies: a value, several values, two of a turn.
  'XADD nest:replies:<client> NOMKSTREAM * v<client>-0 12',
  'XADD nest:replies:<client> NOMKSTREAM * n<client>-1:1-<random>:0 "a" n<client>-1:1-<random>:1 "b" c<client>-1:1-<random>:2 ',
  'XADD nest:replies:<client> NOMKSTREAM * v<client>-3 3 v<client>-4 7',
  // Events.
  'SISMEMBER {nest:0}:topics order.created',
  'XADD {nest:0}:announce MAXLEN ~ 10000 * topic order.created',
  'SADD {nest:0}:topics order.created',
  'XADD {nest:0}:topic:order.created * pattern order.created data {"id":"A-1"}',
  'XADD {nest:0}:topic:order.created * pattern order.created data {"id":"A-1"} headers {"tenant":"x"}',
  // Broadcasts and wildcards.
  '(LUA) HSET {nest:0}:subscriptions {orders} price.changed <now> 604800000',
  '(LUA) HSET {nest:0}:subscriptions orders stock.> <now> 604800000',
  'XREAD COUNT 64 BLOCK 5000 STREAMS {nest:0}:topic:price.changed 0-0',
  'HMGET {nest:0}:floors cut {nest:0}:topic:price.changed',
  '(LUA) HSET {nest:0}:floors cut {nest:0}:topic:price.changed <entry id>',
  'SSCAN {nest:0}:topics 0 COUNT 500',
  'ZRANGE {nest:0}:idle 0 -1',
  'XREAD COUNT 1000 BLOCK 5000 STREAMS {nest:0}:control:orders {nest:0}:announce 0-0 0-0',
  // Cancelled: one that runs, one that was not delivered.
  '(LUA) XINFO GROUPS {nest:0}:inbox:orders',
  '(LUA) ZREMRANGEBYSCORE {nest:0}:cancelled -inf <now>',
  '(LUA) ZADD {nest:0}:cancelled <now> <client>-5',
  '(LUA) XADD {nest:0}:control:orders MAXLEN ~ 10000 * cancel <client>-5',
  '(LUA) XRANGE {nest:0}:inbox:orders <entry id> <entry id>',
  '(LUA) XDEL {nest:0}:inbox:orders <entry id>',
  // Settled.
  'XACK {nest:0}:inbox:orders orders <entry id>',
  'XACK {nest:0}:topic:order.created orders <entry id>',
  '(LUA) XTRIM {nest:0}:topic:order.created MINID <entry id>',
];

test.each(RECORDED)('what was recorded is written still: %s', (command) => {
  expect(commands).toContain(command);
});

test('a request is acknowledged after its reply has been answered, and removed after that', () => {
  const reply = commands.indexOf('XADD nest:replies:<client> NOMKSTREAM * v<client>-0 12');
  const acknowledged = commands.indexOf('XACK {nest:0}:inbox:orders orders <entry id>');
  const removed = commands.findIndex((command) =>
    command.startsWith('XDEL {nest:0}:inbox:orders <entry id>'),
  );
  expect(reply).toBeGreaterThan(-1);
  expect(acknowledged).toBeGreaterThan(reply);
  expect(removed).toBeGreaterThan(acknowledged);
});

test('an instance is registered before its first read, a topic before its first event, a reply stream before the first request', () => {
  const at = (start: string): number => {
    const index = commands.findIndex((command) => command.startsWith(start));
    expect(index).toBeGreaterThan(-1);
    return index;
  };
  expect(at('(LUA) SET {nest:0}:lease:orders')).toBeLessThan(at('XREADGROUP'));
  expect(at('(LUA) HSET {nest:0}:instances:orders')).toBeLessThan(at('XREADGROUP'));
  expect(at('(LUA) HSET {nest:0}:subscriptions')).toBeLessThan(at('(LUA) XGROUP CREATE'));
  expect(at('SADD {nest:0}:topics')).toBeLessThan(at('XADD {nest:0}:topic:order.created'));
  expect(at('XGROUP CREATE nest:replies:')).toBeLessThan(at('XADD {nest:0}:inbox:orders'));
  expect(at('HGETALL {nest:0}:layout')).toBeLessThan(at('(LUA) SET {nest:0}:lease:orders'));
});

test('every command that docs/wire.md shows is one that is written', () => {
  const page = readFileSync(PAGE, 'utf8');
  const shown = [...page.matchAll(/```text\n([\s\S]*?)```/g)]
    .flatMap(([, block = '']) => block.split('\n'))
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) =>
      line
        .replaceAll('{ns:0}', '{nest:0}')
        .replaceAll('ns:replies:', 'nest:replies:')
        .replaceAll('Zk3v9Qd0aXyB', '<client>')
        .replaceAll('ttl 30000', 'ttl <ttl>')
        .replaceAll('<ms>-<seq + 1>', '<entry id>')
        .replaceAll('<ms>', '<now>'),
    );
  expect(shown.length).toBeGreaterThan(20);
  // Written only under load; test/e2e/server-cleaning.test.ts sees them.
  const underLoad = [
    'XPENDING {nest:0}:inbox:orders orders - + 1',
    'XTRIM {nest:0}:inbox:orders MINID <entry id>',
  ];
  const written = [...commands.map((command) => command.replace(`${LUA} `, '')), ...underLoad];
  for (const line of shown) {
    expect(written).toContain(line);
  }
});
