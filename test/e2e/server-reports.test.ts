import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { Redis } from 'ioredis';
import { firstValueFrom } from 'rxjs';
import {
  DeadLetter,
  RedisStreamsContext,
  RetryLater,
  type RedisStreamsReports,
  type RedisStreamsServer,
  type ReportName,
  type RetryOptions,
} from '../../lib/index.js';
import { closeAll, connect, inspect, Lines, onClose, serve, serveModule } from '../support/app.js';
import { CompiledScripts } from '../support/child-process.js';
import { RedisServer } from '../support/redis-server.js';
import { pendingIn, pendingRows, type PendingRow } from '../support/streams.js';
import { deferred, eventually, type Deferred } from '../support/wait.js';

const LEASE = 500;
const INBOX = '{nest:0}:inbox:tasks';
const TOPIC = '{nest:0}:topic:task.event';

const NAMES: readonly ReportName[] = [
  'read',
  'handled',
  'retried',
  'deadLettered',
  'deadLettersDropped',
  'takenOver',
  'instanceDied',
  'fenced',
  'entriesLost',
  'expired',
  'cancelled',
];

let scripts: CompiledScripts;
let redis: RedisServer;
let look: Redis;
let options: { connection: string; service: string; lease: number; retry: RetryOptions };
let release: Deferred;
beforeAll(async () => {
  scripts = await CompiledScripts.make();
  redis = await RedisServer.start();
  const retry: RetryOptions = { maxDeliveries: 2, backoff: { type: 'fixed', delay: 20 } };
  options = { connection: redis.url, service: 'tasks', lease: LEASE, retry };
});
beforeEach(async () => {
  look = inspect(redis.url);
  await look.flushall();
  release = deferred();
});
afterEach(closeAll);
afterAll(async () => {
  await redis.stop();
  scripts.remove();
});

@Controller()
class TaskController {
  @MessagePattern('task')
  async task(@Payload() data: unknown): Promise<unknown> {
    if (data === 'fail') {
      throw new Error('as asked');
    }
    if (data === 'wait') {
      await release.promise;
    }
    return data;
  }
  @EventPattern<string>('task.event')
  async event(@Payload() data: unknown, @Ctx() context: RedisStreamsContext): Promise<void> {
    if (data === 'wait') {
      await release.promise;
    } else if (data === 'reject') {
      throw new DeadLetter('no such product');
    } else if (data === 'fail' || (data === 'retry' && context.deliveryCount === 1)) {
      throw new RetryLater(20);
    }
  }
}

type Entry = { [Name in ReportName]: [Name, RedisStreamsReports[Name]] }[ReportName];

/** Everything a server reports, in its order. */
function watch(server: RedisStreamsServer): Entry[] {
  const all: Entry[] = [];
  for (const name of NAMES) {
    server.hooks.on(name, (report) => all.push([name, report] as Entry));
  }
  return all;
}

const namesOf = (all: readonly Entry[]): string[] => all.map(([name]) => name);

async function emit(data: unknown): Promise<void> {
  const client = connect({ connection: redis.url });
  await firstValueFrom(client.emit('task.event', data), { defaultValue: undefined });
}

const settled = (stream: string): Promise<boolean> =>
  eventually(async () => (await pendingIn(look, stream, 'tasks')) === 0, `nothing pending in ${stream}`);

const client = () => connect({ connection: redis.url, service: 'tasks' });

/** What a report about the message says that was published last. */
async function about(stream: string, kind: 'request' | 'event', deliveries = 1) {
  const [entry] = await look.xrevrange(stream, '+', '-', 'COUNT', 1);
  return {
    service: 'tasks',
    instance: expect.stringMatching(new RegExp(`-${process.pid}-`)),
    pattern: kind === 'event' ? 'task.event' : 'task',
    entryId: entry?.[0] ?? expect.stringMatching(/^\d+-\d+$/),
    stream,
    kind,
    deliveries,
  };
}

const ended = (outcome: string) => ({ outcome, duration: expect.any(Number) });

describe('what is reported', () => {
  test('a request that succeeds, and one that fails', async () => {
    const all = watch((await serve(options, TaskController)).server);
    const before = performance.now();
    await firstValueFrom(client().send('task', 1));
    await expect(firstValueFrom(client().send('task', 'fail'))).rejects.toBeDefined();
    const took = performance.now() - before;
    await settled(INBOX);
    // Settled entries of an inbox are removed, so that only the reports name them.
    const request = { ...(await about(INBOX, 'request')), entryId: expect.any(String) };
    expect(all).toEqual([
      ['read', request],
      ['handled', { ...request, ...ended('succeeded') }],
      ['read', request],
      [
        'handled',
        { ...request, ...ended('failed'), error: { status: 'error', message: 'Internal server error' } },
      ],
    ]);
    for (const [name, report] of all) {
      if (name === 'handled') {
        expect(report.duration).toBeGreaterThanOrEqual(0);
        expect(report.duration).toBeLessThan(took);
      }
    }
  });

  test('an event that succeeds', async () => {
    const all = watch((await serve(options, TaskController)).server);
    await emit(1);
    await settled(TOPIC);
    await eventually(() => all.length === 2, 'two reports');
    const event = await about(TOPIC, 'event');
    expect(all).toEqual([
      ['read', event],
      ['handled', { ...event, ...ended('succeeded') }],
    ]);
  });

  test('an event that fails for good: each delivery, each retry, and its death, once', async () => {
    const all = watch((await serve(options, TaskController)).server);
    await emit('fail');
    await eventually(() => namesOf(all).includes('deadLettered'), 'its death');
    const [first, second] = [await about(TOPIC, 'event'), await about(TOPIC, 'event', 2)];
    const error = expect.any(RetryLater);
    const [letter] = await look.xrange('{nest:0}:dead:tasks', '-', '+');
    expect(all).toEqual([
      ['read', first],
      ['handled', { ...first, ...ended('failed'), error }],
      ['retried', { ...first, delay: 20, error }],
      ['read', second],
      ['handled', { ...second, ...ended('failed'), error }],
      ['deadLettered', { ...second, deadLetterId: letter![0], reason: 'failed', error }],
    ]);
  });

  test('a malformed event has no pattern, and was not handled', async () => {
    const all = watch((await serve(options, TaskController)).server);
    await look.xadd(TOPIC, '*', 'no', 'pattern');
    await eventually(() => namesOf(all).includes('deadLettered'), 'its death');
    const event = { ...(await about(TOPIC, 'event')), pattern: '' };
    expect(all).toEqual([
      ['read', event],
      [
        'deadLettered',
        { ...event, deadLetterId: expect.any(String), reason: 'malformed', error: expect.any(Error) },
      ],
    ]);
  });

  test('an event of nobody’s was not handled', async () => {
    const all = watch((await serve(options, TaskController)).server);
    await look.xadd(INBOX, '*', 'pattern', 'unheard', 'data', '1');
    await eventually(() => namesOf(all).includes('deadLettered'), 'its death');
    expect(namesOf(all)).toEqual(['read', 'deadLettered']);
    expect(all[1]![1]).toMatchObject({ pattern: 'unheard', kind: 'event', reason: 'no-handler' });
  });

  test('a request whose deadline had passed', async () => {
    const fields = ['pattern', 'task', 'data', '1', 'id', 'r1', 'reply', 'by-hand', 'ttl', '1'];
    await look.xadd(INBOX, '1000-1', ...fields);
    let all: ReturnType<typeof watch> = [];
    // Before it listens: it reads at once then.
    const prepare = (_: unknown, server: RedisStreamsServer): void => void (all = watch(server));
    await serveModule(options, { controllers: [TaskController] }, { prepare });
    await eventually(() => namesOf(all).includes('expired'), 'the report');
    await settled(INBOX);
    const request = { ...(await about(INBOX, 'request')), entryId: '1000-1' };
    expect(all.filter(([name]) => name !== 'read')).toEqual([['expired', request]]);
  });

  test('a request whose handler succeeds after its deadline: the result is for nobody', async () => {
    const all = watch((await serve(options, TaskController)).server);
    const fields = ['pattern', 'task', 'data', '"wait"', 'id', 'r1', 'reply', 'by-hand', 'ttl', '50'];
    const id = (await look.xadd(INBOX, '*', ...fields))!;
    await eventually(() => all.length === 1, 'it to be read');
    await eventually(async () => {
      const [seconds, micros] = await look.time();
      // Instances know Redis' clock only roughly.
      return Number(seconds) * 1000 + Number(micros) / 1000 > Number.parseInt(id, 10) + 100;
    }, 'its deadline');
    release.resolve();
    await settled(INBOX);
    expect(all[1]).toEqual([
      'handled',
      { ...(await about(INBOX, 'request')), entryId: id, ...ended('aborted') },
    ]);
  });

  test('what is still handled when the server closes', async () => {
    const { app, server } = await serve({ ...options, shutdownTimeout: 20 }, TaskController);
    const all = watch(server);
    await emit('wait');
    await eventually(() => all.length === 1, 'the event to be read');
    await app.close();
    release.resolve();
    await eventually(() => all.length === 2, 'its handler to end');
    const event = await about(TOPIC, 'event');
    expect(all[1]).toEqual(['handled', { ...event, ...ended('aborted') }]);
  });

  test('an instance that died, and its messages that are taken over, waiting ones as well', async () => {
    const victim = scripts.run('instance', JSON.stringify(options));
    onClose(() => victim.end('SIGKILL'));
    await victim.says('listening');
    const task = (name: string, then: string, ms = 0): string => JSON.stringify({ name, then, ms });
    const request = ['pattern', 'task', 'data', task('request', 'hang'), 'id', 'r1', 'reply', 'by-hand'];
    await look.xadd(INBOX, '*', ...request);
    await look.xadd(TOPIC, '*', 'pattern', 'task.event', 'data', task('event', 'hang'));
    await look.xadd(TOPIC, '*', 'pattern', 'task.event', 'data', task('later', 'later', 1_000));
    await victim.says('started request');
    await eventually(
      async () =>
        (await pendingRows(look, TOPIC, 'tasks')).some(({ consumer }) => consumer.endsWith('~wait')),
      'one to wait',
    );
    const [first] = await look.xrange(INBOX, '-', '+');
    const all = watch((await serve(options, TaskController)).server);
    const [name] = (await look.hkeys('{nest:0}:instances:tasks')).filter(
      (each) => !each.includes(`-${process.pid}-`),
    );
    await victim.end('SIGKILL');
    await settled(TOPIC);
    await eventually(
      () => namesOf(all).filter((each) => each === 'handled').length === 3,
      'all to be handled',
    );
    const [inRequest, inEvent] = [
      { ...(await about(INBOX, 'request', 2)), entryId: first![0] },
      { ...(await about(TOPIC, 'event', 2)), entryId: expect.any(String) },
    ];
    expect(all.filter(([each]) => each === 'instanceDied')).toEqual([
      ['instanceDied', { service: 'tasks', instance: name, entries: 3 }],
    ]);
    const taken = all.flatMap(([each, report]) => (each === 'takenOver' ? [report] : []));
    expect(taken).toHaveLength(3);
    expect(taken).toEqual(expect.arrayContaining([inRequest, inEvent]));
    expect(new Set(taken.map(({ stream, entryId }) => stream + entryId)).size).toBe(3);
    expect(namesOf(all)).not.toContain('read');
  });

  test('an instance that was fenced, and how many of its messages others have', async () => {
    const { server } = await serve(options, TaskController);
    const all = watch(server);
    await emit('wait');
    await emit('wait');
    await eventually(async () => (await pendingIn(look, TOPIC, 'tasks')) === 2, 'both to be delivered');
    const [{ id, consumer }] = (await pendingRows(look, TOPIC, 'tasks')) as [PendingRow, PendingRow];
    // As a sweep does that finds it dead.
    await look
      .multi()
      .set(`{nest:0}:lease:tasks:${consumer}`, 'taken', 'PX', 60_000)
      .xclaim(TOPIC, 'tasks', 'another', 0, id)
      .exec();
    await eventually(() => namesOf(all).includes('fenced'), 'the report');
    expect(all.filter(([name]) => name === 'fenced')).toEqual([
      ['fenced', { service: 'tasks', instance: consumer, awayFor: expect.any(Number), lost: 1 }],
    ]);
    release.resolve();
    await eventually(() => namesOf(all).filter((name) => name === 'handled').length === 2, 'both to end');
    const outcomes = all.flatMap(([name, report]) => (name === 'handled' ? [report.outcome] : []));
    expect(outcomes.sort()).toEqual(['aborted', 'succeeded']);
    await eventually(async () => (await pendingIn(look, TOPIC, 'tasks')) === 1, 'its own to be settled');
    await expect(pendingIn(look, TOPIC, 'tasks', 'another')).resolves.toBe(1);
  });
});

describe('listeners', () => {
  test('what one throws, or fails with later, changes nothing and is logged, once for a burst', async () => {
    const lines = new Lines();
    const { server } = await serveModule(options, { controllers: [TaskController] }, { logger: lines });
    for (const name of NAMES) {
      server.hooks.on(name, () => {
        throw new Error('the listener fails');
      });
      const asynchronous: () => unknown = async () => {
        await Promise.resolve();
        throw new Error('the asynchronous listener fails');
      };
      server.hooks.on(name, asynchronous);
    }
    const later = watch(server);
    for (let i = 0; i < 20; i++) {
      await expect(firstValueFrom(client().send('task', i))).resolves.toBe(i);
    }
    await emit('retry');
    await emit('reject');
    await eventually(() => namesOf(later).includes('deadLettered'), 'the last report');
    await Promise.all([settled(INBOX), settled(TOPIC)]);
    expect(namesOf(later).filter((name) => name === 'handled')).toHaveLength(23);
    for (const name of ['read', 'handled', 'retried', 'deadLettered']) {
      expect(lines.with(`A listener of '${name}' failed`)).toHaveLength(1);
    }
    expect(lines.with('A listener of')).toHaveLength(4);
  });

  test('one that was taken away is not called any more', async () => {
    const { server } = await serve(options, TaskController);
    const reports: unknown[] = [];
    const listener = (report: unknown): void => void reports.push(report);
    server.hooks.on('handled', listener);
    expect(server.hooks.listens('handled')).toBe(true);
    await firstValueFrom(client().send('task', 1));
    await eventually(() => reports.length === 1, 'a report');
    server.hooks.off('handled', listener);
    expect(server.hooks.listens('handled')).toBe(false);
    await firstValueFrom(client().send('task', 1));
    await settled(INBOX);
    expect(reports).toHaveLength(1);
  });
});

describe('the log', () => {
  test('has one line for a burst of failing events of a pattern, and for their deaths', async () => {
    const lines = new Lines();
    const { app, server } = await serveModule(options, { controllers: [TaskController] }, { logger: lines });
    let deaths = 0;
    server.hooks.on('deadLettered', () => deaths++);
    await Promise.all(Array.from({ length: 30 }, () => emit('fail')));
    await eventually(() => deaths === 30, 'all to be dead letters');
    expect(lines.with('is delivered again in 20 ms')).toHaveLength(1);
    expect(lines.with('is dead letter')).toHaveLength(1);
    await app.close();
    expect(lines.with("Failed events 'task.event': 29 more, the last one: ")).toHaveLength(1);
    expect(lines.with('Dead letters: 29 more, the last one: ')).toHaveLength(1);
  });

  test('says that an event of nobody’s is lost that was acknowledged on receipt', async () => {
    const lines = new Lines();
    await serveModule(
      { ...options, acknowledge: 'on-receipt' },
      { controllers: [TaskController] },
      { logger: lines },
    );
    await look.xadd(INBOX, '*', 'pattern', 'unheard', 'data', '1');
    await eventually(() => lines.with("The service has no handler for 'unheard'.")[0], 'a line about it');
    await eventually(async () => (await look.xlen(INBOX)) === 0, 'an empty inbox');
  });

  test('says as a warning that an event is delivered again, and as an error that it is dead', async () => {
    const lines = new Lines();
    const { app } = await serveModule(options, { controllers: [TaskController] }, { logger: lines });
    await emit('fail');
    await eventually(() => lines.with('is dead letter')[0], 'the line about its death');
    await app.close();
    const [[letter, fields]] = (await look.xrange('{nest:0}:dead:tasks', '-', '+')) as [[string, string[]]];
    // The topic may have been trimmed by now.
    const id = fields[fields.indexOf('dead-id') + 1];
    const reason = 'The event is to be delivered again in 20 ms.';
    expect(lines.with('is delivered again in')[0]).toMatch(
      new RegExp(
        `^warn: Event 'task\\.event' \\(entry ${id} of .*\\) failed at delivery 1 and is delivered again in 20 ms: `,
      ),
    );
    expect(lines.with('is dead letter')).toEqual([
      `error: 'task.event' (entry ${id} of '${TOPIC}') is dead letter ${letter} after 2 deliveries (failed): ${reason}`,
    ]);
  });
});
