import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import { RedisStreamsContext } from '../../lib/index.js';
import { closeAll, connect, inspect, Lines, onClose, serve, serveModule } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { deferred, eventually } from '../support/wait.js';

/** BLOCK and grace: how long a reply that found no stream waits for its client to come back. */
const GONE_AFTER_MS = 7_000;

const INBOX = '{nest:0}:inbox:acks';
const REPLIES = 'nest:replies:by-hand';

let redis: RedisServer;
let look: Redis;
let options: { connection: string; service: string };
beforeAll(async () => {
  redis = await RedisServer.start();
  options = { connection: redis.url, service: 'acks' };
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.config('SET', 'maxmemory', '0');
  await look.flushall();
});
afterEach(closeAll);
afterAll(() => redis.stop());

const pending = async (stream = INBOX): Promise<number> =>
  ((await look.xpending(stream, 'acks')) as [number])[0];
const settled = (): Promise<boolean> =>
  eventually(
    async () => (await pending()) === 0 && (await look.xlen(INBOX)) === 0,
    'the request to be settled',
  );

function blocked() {
  const started = deferred();
  const release = deferred();
  @Controller()
  class BlockedController {
    @MessagePattern('ask')
    async ask(@Payload() data: unknown): Promise<unknown> {
      started.resolve();
      await release.promise;
      return data;
    }
  }
  return { started, release, BlockedController };
}

test('a request is acknowledged after its reply is stored, and removed after that', async () => {
  const { release, BlockedController } = blocked();
  release.resolve();
  const { server } = await serve(options, BlockedController);
  const address = server.unwrap().options.port;
  const commands: string[] = [];
  const monitor = await inspect(redis.url).monitor();
  onClose(() => monitor.disconnect());
  monitor.on('monitor', (_time: string, args: string[]) =>
    commands.push(args.slice(0, 2).join(' ').toLowerCase()),
  );
  await expect(firstValueFrom(connect(options).send('ask', 1))).resolves.toBe(1);
  await settled();
  expect(address).toBe(redis.port);
  const order = await eventually(() => {
    const reply = commands.findIndex((command) => command.startsWith('xadd nest:replies:'));
    const ack = commands.indexOf(`xack ${INBOX}`);
    const removal = commands.indexOf(`xdel ${INBOX}`);
    return removal >= 0 ? [reply, ack, removal] : undefined;
  }, 'all commands to be seen');
  expect(order[0]).toBeGreaterThanOrEqual(0);
  expect(order[1]).toBeGreaterThan(order[0]!);
  expect(order[2]).toBeGreaterThan(order[1]!);
});

test('a reply that Redis has no memory for is stored when there is some again, and the request is not acknowledged before', async () => {
  const { started, release, BlockedController } = blocked();
  const lines = new Lines();
  await serveModule(options, { controllers: [BlockedController] }, { logger: lines });
  const answer = firstValueFrom(connect(options).send('ask', 'kept'));
  await started.promise;
  await look.config('SET', 'maxmemory', '1');
  release.resolve();
  await eventually(() => lines.with('OOM')[0], 'a line about the refused reply');
  await eventually(async () => refusals(await look.info('errorstats')) >= 3, 'more than one attempt');
  await expect(pending()).resolves.toBe(1);
  await expect(look.xlen(INBOX)).resolves.toBe(1);
  await look.config('SET', 'maxmemory', '0');
  await expect(answer).resolves.toBe('kept');
  await settled();
  expect(lines.with('OOM')).toHaveLength(1);
});

function refusals(errorstats: string): number {
  return Number(/errorstat_OOM:count=(\d+)/.exec(errorstats)?.[1] ?? 0);
}

test('a reply stream that is something else keeps its request pending until that is put right', async () => {
  const { release, BlockedController } = blocked();
  release.resolve();
  const lines = new Lines();
  await look.set(REPLIES, 'not a stream');
  await serveModule(options, { controllers: [BlockedController] }, { logger: lines });
  await look.xadd(INBOX, '*', 'pattern', 'ask', 'data', '"kept"', 'id', 'i', 'reply', 'by-hand');
  await eventually(() => lines.with('WRONGTYPE')[0], 'a line about the refused reply');
  await expect(pending()).resolves.toBe(1);
  // Others are answered meanwhile.
  await expect(firstValueFrom(connect(options).send('ask', 'other'))).resolves.toBe('other');
  await eventually(async () => (await pending()) === 1, 'the other request to be settled');
  await look.multi().del(REPLIES).xgroup('CREATE', REPLIES, 'make', '0', 'MKSTREAM').exec();
  await eventually(async () => (await look.xlen(REPLIES)) === 1, 'the reply');
  expect((await look.xrange(REPLIES, '-', '+'))[0]![1]).toEqual(['vi', '"kept"']);
  await settled();
});

test('a reply that cannot be stored before its deadline is for nobody: the request is settled', async () => {
  const { release, BlockedController } = blocked();
  release.resolve();
  await look.set(REPLIES, 'not a stream');
  await serve(options, BlockedController);
  await look.xadd(INBOX, '*', 'pattern', 'ask', 'data', '1', 'id', 'i', 'reply', 'by-hand', 'ttl', '300');
  await settled();
  await expect(look.get(REPLIES)).resolves.toBe('not a stream');
});

test('a request whose client is gone is acknowledged after one more try, and its stream is not brought back', async () => {
  const { started, release, BlockedController } = blocked();
  await serve(options, BlockedController);
  // By hand: a client that closes cancels what it waits for.
  await look.xadd(INBOX, '*', 'pattern', 'ask', 'data', '1', 'id', 'r1', 'reply', 'gone');
  await started.promise;
  release.resolve();
  const since = performance.now();
  await eventually(
    async () => (await pending()) === 0 && (await look.xlen(INBOX)) === 0,
    'the request to be settled',
    GONE_AFTER_MS + 3_000,
  );
  expect(performance.now() - since).toBeGreaterThan(GONE_AFTER_MS - 500);
  await expect(look.exists('nest:replies:gone')).resolves.toBe(0);
});

test('a client that comes back within that time gets its reply', async () => {
  const { started, release, BlockedController } = blocked();
  await serve(options, BlockedController);
  const answer = firstValueFrom(connect(options).send('ask', 'late'));
  await started.promise;
  const [key] = await look.keys('nest:replies:*');
  await look.del(key!);
  release.resolve();
  await expect(answer).resolves.toBe('late');
  await settled();
});

test('a request whose time is over before the server starts is not run, and is removed', async () => {
  const ran: unknown[] = [];
  @Controller()
  class LateController {
    @MessagePattern('ask')
    ask(@Payload() data: unknown): unknown {
      ran.push(data);
      return data;
    }
  }
  const client = connect({ ...options, timeout: 100 });
  await Promise.all(
    [1, 2, 3].map((i) =>
      expect(firstValueFrom(client.send('ask', i))).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' }),
    ),
  );
  await expect(look.xlen(INBOX)).resolves.toBe(3);
  await serve(options, LateController);
  await expect(firstValueFrom(connect(options).send('ask', 4))).resolves.toBe(4);
  await settled();
  expect(ran).toEqual([4]);
});

test('on receipt: a request and an event are acknowledged before their handlers start', async () => {
  const seen: Record<string, number> = {};
  const told = deferred();
  @Controller()
  class OnReceiptController {
    @MessagePattern('ask')
    async ask(@Ctx() context: RedisStreamsContext): Promise<string> {
      seen['request'] = await pending(context.stream);
      return 'asked';
    }
    @EventPattern('told')
    async on(@Ctx() context: RedisStreamsContext): Promise<void> {
      seen['event'] = await pending(context.stream);
      told.resolve();
    }
  }
  await serve({ ...options, acknowledge: 'on-receipt' }, OnReceiptController);
  const client = connect(options);
  await expect(firstValueFrom(client.send('ask', {}))).resolves.toBe('asked');
  client.emit('told', {});
  await told.promise;
  expect(seen).toEqual({ request: 0, event: 0 });
  await settled();
});

test('on receipt: an event whose handler fails is lost, and the log says so', async () => {
  const lines = new Lines();
  @Controller()
  class FailingController {
    @EventPattern<string>('fails')
    on(): never {
      throw new Error('as asked');
    }
  }
  await serveModule(
    { ...options, acknowledge: 'on-receipt' },
    { controllers: [FailingController] },
    { logger: lines },
  );
  await firstValueFrom(connect(options).emit('fails', {}), { defaultValue: undefined });
  await eventually(() => lines.with('is lost, since it was acknowledged on receipt')[0], 'a line about it');
  await expect(pending('{nest:0}:topic:fails')).resolves.toBe(0);
});

test('on receipt: what Redis does not let be acknowledged does not run', async () => {
  let ran = 0;
  @Controller()
  class ForbiddenController {
    @MessagePattern('ask')
    ask(): void {
      ran++;
    }
    @EventPattern<string>('told')
    on(): void {
      ran++;
    }
  }
  await look.acl('SETUSER', 'noack', 'on', '>secret', '~*', '&*', '+@all', '-xack');
  const lines = new Lines();
  const connection = { port: redis.port, host: '127.0.0.1', username: 'noack', password: 'secret' };
  await serveModule(
    { connection, service: 'acks', acknowledge: 'on-receipt', concurrency: 1, eventConcurrency: 1 },
    { controllers: [ForbiddenController] },
    { logger: lines },
  );
  const client = connect({ ...options, timeout: 300 });
  client.emit('told', {});
  // Two, with one slot: the first has given its slot back.
  for (let i = 0; i < 2; i++) {
    await expect(firstValueFrom(client.send('ask', {}))).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
  }
  await eventually(async () => (await pending()) === 2, 'both to have been read');
  expect(ran).toBe(0);
  expect(lines.with('did not confirm its acknowledgement').length).toBeGreaterThan(0);
  await expect(pending('{nest:0}:topic:told')).resolves.toBe(1);
});
