import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { ConnectError, OutcomeUnknownError, RedisStreamsClient } from '../../lib/index.js';
import { entriesOf, heldBy, inspector, routed } from '../support/counting.js';
import { Proxy, type Direction } from '../support/proxy.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

/** Conversations that run at once, each with a client, a proxy and a namespace of its own. */
const LANES = 32;
/** Servers that forget the script before each conversation; one for each lane, since they forget it for all. */
const FORGETFUL = 8;
const SETTLED_WITHIN_MS = 15_000;

/** INFO would make up most of the bytes: without the right to it, and without ioredis' own check, there is none. */
const USER = { username: 'short', password: 'secret', enableReadyCheck: false };

interface Target {
  redis: RedisServer;
  inspect: Redis;
}

let main: Target;
let forgetful: Target[];
beforeAll(async () => {
  Logger.overrideLogger(false);
  [main, ...forgetful] = (await Promise.all(Array.from({ length: FORGETFUL + 1 }, startTarget))) as [
    Target,
    ...Target[],
  ];
});
afterAll(async () => {
  Logger.overrideLogger(['log', 'warn', 'error']);
  await Promise.all(
    [main, ...forgetful].map(async ({ redis, inspect }) => {
      inspect.disconnect();
      await redis.stop();
    }),
  );
});

async function startTarget(): Promise<Target> {
  const redis = await RedisServer.start();
  const inspect = inspector(redis.url);
  await inspect.acl('SETUSER', USER.username, 'on', `>${USER.password}`, '~*', '&*', '+@all', '-info');
  return { redis, inspect };
}

type Outcome = 'waiting' | 'answered' | 'stored' | { failed: unknown };

interface Call {
  number: number;
  isRequest: boolean;
  outcome: Outcome;
}

/** A client that connects and sends a request and an event, then several of both in one turn. */
class Conversation {
  readonly calls: Call[] = [];
  private readonly client: RedisStreamsClient;

  constructor(
    private readonly target: Target,
    private readonly namespace: string,
    proxy: Proxy,
  ) {
    this.client = new RedisStreamsClient({
      connection: routed(['commands'], proxy.port, target.redis.port, USER),
      namespace,
      service: 'sink',
    });
  }

  async run(): Promise<void> {
    this.send();
    this.emit();
    await this.eventsSettled();
    // Connected, with stream and topic known, so that these leave in one turn: a script call for each stream.
    for (const isRequest of [true, true, false, true, false, false]) {
      if (isRequest) {
        this.send();
      } else {
        this.emit();
      }
    }
    await this.eventsSettled();
    await this.whenConnectedAgain();
    await this.answer();
  }

  /** Every request that lies in Redis gets its number back. */
  private async answer(): Promise<void> {
    const { inspect } = this.target;
    const entries = await entriesOf(inspect, `{${this.namespace}:0}:inbox:sink`);
    const transaction = inspect.pipeline();
    for (const { id, reply, data } of entries) {
      transaction.xadd(`${this.namespace}:replies:${reply}`, 'NOMKSTREAM', '*', `v${id}`, data!);
    }
    await transaction.exec();
    const stored = new Set(entries.map(({ data }) => Number(data)));
    await eventually(
      () => this.calls.every((call) => !stored.has(call.number) || call.outcome !== 'waiting'),
      'replies to all stored requests',
      SETTLED_WITHIN_MS,
    );
  }

  async close(): Promise<void> {
    await this.client.close();
  }

  /** How often each call lies in Redis, by its number. */
  async copies(): Promise<Map<number, number>> {
    const copies = new Map<number, number>();
    for (const key of ['inbox:sink', 'topic:noted']) {
      for (const { data } of await entriesOf(this.target.inspect, `{${this.namespace}:0}:${key}`)) {
        copies.set(Number(data), (copies.get(Number(data)) ?? 0) + 1);
      }
    }
    return copies;
  }

  private send(): void {
    const call = this.record(true);
    firstValueFrom(this.client.send<number>('keep', call.number)).then(
      (number) => (call.outcome = number === call.number ? 'answered' : { failed: `reply ${number}` }),
      (error: unknown) => (call.outcome = { failed: error }),
    );
  }

  private emit(): void {
    const call = this.record(false);
    lastValueFrom(this.client.emit('noted', call.number), { defaultValue: undefined }).then(
      () => (call.outcome = 'stored'),
      (error: unknown) => (call.outcome = { failed: error }),
    );
  }

  private record(isRequest: boolean): Call {
    const call: Call = { number: this.calls.length + 1, isRequest, outcome: 'waiting' };
    this.calls.push(call);
    return call;
  }

  private async eventsSettled(): Promise<void> {
    await eventually(
      () => this.calls.every((call) => call.isRequest || call.outcome !== 'waiting'),
      'all events settled',
      SETTLED_WITHIN_MS,
    );
  }

  /** What waits in the outbox leaves in its order, so that an event that was stored has everything before it. */
  private async whenConnectedAgain(): Promise<void> {
    for (;;) {
      this.emit();
      await this.eventsSettled();
      if (this.calls[this.calls.length - 1]!.outcome === 'stored' && heldBy(this.client).queued === 0) {
        return;
      }
    }
  }
}

let names = 0;

/** The bytes of a conversation that is not cut. */
async function lengths(target: Target): Promise<Record<Direction, number>> {
  const proxy = await Proxy.start(target.redis.port);
  const conversation = new Conversation(target, `cut${1000 + names++}`, proxy);
  await conversation.run();
  const bytes = { 'to-redis': proxy.passed('to-redis'), 'to-client': proxy.passed('to-client') };
  await conversation.close();
  await proxy.stop();
  return bytes;
}

interface Verdict {
  faults: string[];
  wasCut: boolean;
  unknown: number;
}

async function cutAt(target: Target, direction: Direction, position: number): Promise<Verdict> {
  const proxy = await Proxy.start(target.redis.port);
  const conversation = new Conversation(target, `cut${1000 + names++}`, proxy);
  const where = `cut ${direction} at ${position}`;
  try {
    proxy.cutAfter(direction, position);
    await conversation.run();
    const copies = await conversation.copies();
    const faults = conversation.calls.flatMap((call) => faultOf(call, copies.get(call.number) ?? 0) ?? []);
    const unknown = conversation.calls.filter(isUnknown).length;
    return { faults: faults.map((fault) => `${where}: ${fault}`), wasCut: !proxy.isArmed, unknown };
  } catch (error) {
    return { faults: [`${where}: ${String(error)}`], wasCut: !proxy.isArmed, unknown: 0 };
  } finally {
    await conversation.close();
    await proxy.stop();
  }
}

/** What is wrong with what became of a call; `undefined`: nothing. */
function faultOf(call: Call, copies: number): string | undefined {
  const { number, isRequest, outcome } = call;
  const what = `${isRequest ? 'request' : 'event'} ${number} lies there ${copies} times`;
  if (copies > 1) {
    return what;
  }
  if (outcome === 'waiting') {
    return copies === 0 ? undefined : `${what} and has no reply`;
  }
  if (typeof outcome === 'string') {
    return copies === 1 ? undefined : `${what} and was ${outcome}`;
  }
  if (isUnknown(call)) {
    return undefined;
  }
  // A client that could not connect has sent nothing.
  const isClear = outcome.failed instanceof ConnectError && copies === 0;
  return isClear ? undefined : `${what} and failed with ${String(outcome.failed)}`;
}

function isUnknown({ isRequest, outcome }: Call): boolean {
  return !isRequest && typeof outcome === 'object' && outcome.failed instanceof OutcomeUnknownError;
}

/** Cuts at each of the positions, some at once. */
async function cutAtAll(
  targets: Target[],
  direction: Direction,
  positions: number[],
  before?: (target: Target) => Promise<unknown>,
): Promise<void> {
  const verdicts: Verdict[] = [];
  let next = 0;
  await Promise.all(
    targets.map(async (target) => {
      while (next < positions.length) {
        const position = positions[next++]!;
        await before?.(target);
        verdicts.push(await cutAt(target, direction, position));
      }
    }),
  );
  expect(verdicts.flatMap(({ faults }) => faults).slice(0, 10)).toEqual([]);
  // All but a few of the last, where numbers have fewer digits than in the conversation that was measured.
  expect(verdicts.filter(({ wasCut }) => wasCut).length).toBeGreaterThan(positions.length * 0.98);
  // The cuts reached what they are for: events that were written and never confirmed.
  expect(verdicts.reduce((sum, { unknown }) => sum + unknown, 0)).toBeGreaterThan(0);
}

test.each<Direction>(['to-redis', 'to-client'])(
  'wherever the connection is cut, no call is stored twice and none that succeeded is missing: every byte %s',
  async (direction) => {
    // Redis knows the script from the second conversation on.
    await lengths(main);
    const total = (await lengths(main))[direction];
    await cutAtAll(
      Array.from({ length: LANES }, () => main),
      direction,
      Array.from({ length: total }, (_, position) => position),
    );
  },
  120_000,
);

test('the same while Redis is given the script for the first time: every third byte from there on', async () => {
  await lengths(main);
  const known = (await lengths(main))['to-redis'];
  const [first] = forgetful;
  const total = (await lengths(first!))['to-redis'];
  // The turn with the script calls lies behind the handshake, which is more than half of it.
  const positions: number[] = [];
  for (let position = Math.floor(known / 2); position < total; position += 3) {
    positions.push(position);
  }
  await cutAtAll(forgetful, 'to-redis', positions, ({ inspect }) => inspect.script('FLUSH'));
}, 120_000);
