import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { closeAll, connect, inspect, Lines, serveModule } from '../../support/app.js';
import { RedisServer } from '../../support/redis-server.js';
import { topicKey } from '../../support/shards.js';
import { eventually } from '../../support/wait.js';

const TOPIC = topicKey('told');
const INBOX = '{nest:0}:inbox:reader';
/** In the shard of the message that died. */
const deadIn = (stream: string): string => `${stream.slice(0, stream.indexOf('}') + 1)}:dead:reader`;

const handled: unknown[] = [];

@Controller()
class ReaderController {
  @EventPattern('told')
  on(@Payload() data: unknown): void {
    handled.push(data);
  }
  @MessagePattern('ask')
  ask(@Payload() data: unknown): unknown {
    return data;
  }
}

let redis: RedisServer;
let look: Redis;
let lines: Lines;
beforeAll(async () => {
  redis = await RedisServer.start();
});
beforeEach(async () => {
  handled.length = 0;
  lines = new Lines();
  look = inspect(redis.url);
  await look.flushall();
  const options = { connection: redis.url, service: 'reader' };
  await serveModule(options, { controllers: [ReaderController] }, { logger: lines });
});
afterEach(closeAll);
afterAll(() => redis.stop());

/** The ids of what is pending in a stream. */
const pending = async (stream: string): Promise<string[]> =>
  ((await look.xpending(stream, 'reader', '-', '+', 100)) as [string][]).map(([id]) => id);

/** The entries that are dead letters, with the reason of each. */
async function dead(stream: string): Promise<[id: string, reason: string][]> {
  const letters = await look.xrange(deadIn(stream), '-', '+');
  return letters.map(([, fields]) => [
    fields[fields.indexOf('dead-id') + 1]!,
    fields[fields.indexOf('dead-reason') + 1]!,
  ]);
}

/** Waits until this entry, and no other, is a dead letter, nothing is pending, and the log says so. */
async function isDeadLetter(stream: string, id: string, reason: string): Promise<void> {
  await eventually(async () => (await dead(stream)).length === 1, 'the dead letter');
  await expect(dead(stream)).resolves.toEqual([[id, reason]]);
  await eventually(async () => (await pending(stream)).length === 0, 'nothing to be pending');
  expect(lines.with(id)[0]).toMatch(new RegExp(`^error: .* is dead letter .*\\(${reason}\\)`));
}

test.each([
  ['without a pattern', ['data', '1']],
  ['with nothing that we know', ['something', 'else']],
  ['with a ttl that is no number', ['pattern', 'told', 'data', '1', 'ttl', 'soon']],
  ['with headers that are no JSON', ['pattern', 'told', 'data', '1', 'headers', '{']],
  ['with headers that are not strings', ['pattern', 'told', 'data', '1', 'headers', '{"a":1}']],
  ['with data that cannot be decoded', ['pattern', 'told', 'data', '{"half":']],
  ['with a codec that nobody knows', ['pattern', 'told', 'data', '1', 'codec', 'protobuf']],
  ['with data that would change a prototype', ['pattern', 'told', 'data', '{"__proto__":{"a":1}}']],
])('an event %s becomes a dead letter, and the next one is handled', async (_, fields) => {
  const id = await look.xadd(TOPIC, '*', ...fields);
  await look.xadd(TOPIC, '*', 'pattern', 'told', 'data', '"next"');
  await eventually(() => handled.length === 1, 'the next event');
  expect(handled).toEqual(['next']);
  await isDeadLetter(TOPIC, id!, 'malformed');
});

test.each([
  ['without a pattern', ['id', 'r1', 'reply', 'me', 'data', '1']],
  [
    'whose reply would be another key',
    ['pattern', 'ask', 'data', '1', 'id', 'r1', 'reply', '../{nest:0}:layout'],
  ],
  ['whose reply is too long', ['pattern', 'ask', 'data', '1', 'id', 'r1', 'reply', 'x'.repeat(65)]],
  ['without an id', ['pattern', 'ask', 'data', '1', 'reply', 'me']],
  ['whose id would end a frame', ['pattern', 'ask', 'data', '1', 'id', 'r1:1', 'reply', 'me']],
])('a request %s becomes a dead letter, and the next one is answered', async (_, fields) => {
  const id = await look.xadd(INBOX, '*', ...fields);
  await expect(
    firstValueFrom(connect({ connection: redis.url, service: 'reader' }).send('ask', 1)),
  ).resolves.toBe(1);
  await eventually(async () => (await dead(INBOX)).length === 1, 'the dead letter', 10_000);
  await isDeadLetter(INBOX, id!, 'malformed');
  await eventually(async () => (await look.xlen(INBOX)) === 0, 'an empty inbox');
  expect(
    (await look.keys('*')).filter((key) => !/^\{nest:[0-2]\}:/.test(key) && !key.startsWith('nest:replies:')),
  ).toEqual([]);
});

test('many malformed entries are one line, and a number', async () => {
  const batch = look.pipeline();
  for (let i = 0; i < 500; i++) {
    batch.xadd(TOPIC, '*', 'no', 'pattern');
  }
  await batch.exec();
  await look.xadd(TOPIC, '*', 'pattern', 'told', 'data', '"next"');
  await eventually(() => handled.length === 1, 'the next event');
  await eventually(async () => (await look.xlen(deadIn(TOPIC))) === 500, '500 dead letters');
  expect(lines.with('is dead letter')).toHaveLength(1);
  await closeAll();
  expect(lines.with('Dead letters: 499 more')).toHaveLength(1);
});

test('fields that this version does not know are passed over', async () => {
  await look.xadd(TOPIC, '*', 'later', 'version', 'pattern', 'told', 'key', 'k', 'data', '{"a":1}');
  await eventually(() => handled.length === 1, 'the event');
  expect(handled).toEqual([{ a: 1 }]);
});

test('an event in the inbox is for this service alone, and is handled and removed', async () => {
  await look.xadd(INBOX, '*', 'pattern', 'told', 'data', '"for you alone"');
  await eventually(() => handled.length === 1, 'the event');
  await eventually(async () => (await look.xlen(INBOX)) === 0, 'an empty inbox');
});

test('whoever waits for the answer to a malformed request is told what is wrong', async () => {
  await look.xgroup('CREATE', 'nest:replies:me', 'new', '0', 'MKSTREAM');
  await look.xadd(INBOX, '*', 'id', 'r1', 'reply', 'me', 'data', '1');
  await eventually(async () => (await look.xlen('nest:replies:me')) === 1, 'the answer');
  const [[, [field, value]]] = (await look.xrange('nest:replies:me', '-', '+')) as [[string, string[]]];
  expect(field).toBe('er1');
  expect(JSON.parse(value!)).toMatchObject({ code: 'MALFORMED_ENTRY', name: 'MalformedEntryError' });
  await eventually(async () => (await dead(INBOX)).length === 1, 'the dead letter');
});

test('an event of nobody’s in the inbox becomes a dead letter', async () => {
  const id = await look.xadd(INBOX, '*', 'pattern', 'unheard', 'data', '1');
  await isDeadLetter(INBOX, id!, 'no-handler');
});
