import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { CompiledScripts, type RunningScript } from '../support/child-process.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/wait.js';

const MESSAGES = 200_000;
/** One of two servers, or of two clients, by turns. */
const KILL_EVERY_MS = 1_500;
const KILLS = 8;

let scripts: CompiledScripts;
let redis: RedisServer;
let look: Redis;
const running = new Set<RunningScript>();
beforeAll(async () => {
  [redis, scripts] = await Promise.all([RedisServer.start(), CompiledScripts.make()]);
  look = new Redis(redis.url);
});
afterAll(async () => {
  await Promise.all([...running].map((script) => script.end('SIGKILL')));
  look.disconnect();
  await redis.stop();
  scripts.remove();
});

function start(role: 'server' | 'client'): RunningScript {
  const script = scripts.run('flood', role, redis.url);
  running.add(script);
  return script;
}

/** How many messages a client says that it has had answered and stored. */
function sentBy({ output }: RunningScript): number {
  return Number([...output.matchAll(/sent (\d+)/g)].at(-1)?.[1] ?? 0);
}

/** Every key, with its type, its length or size, its expiry in ms and its memory in bytes. */
async function keys(): Promise<Record<string, { length: number; ttl: number; bytes: number }>> {
  const found: Record<string, { length: number; ttl: number; bytes: number }> = {};
  for (const key of await look.keys('*')) {
    const type = await look.type(key);
    const lengths: Record<string, () => Promise<number>> = {
      stream: () => look.xlen(key),
      hash: () => look.hlen(key),
      set: () => look.scard(key),
      zset: () => look.zcard(key),
      string: () => look.strlen(key),
    };
    // It may have expired meanwhile.
    const length = await lengths[type]?.();
    if (length === undefined) {
      continue;
    }
    found[key] = {
      length,
      ttl: await look.pttl(key),
      bytes: (await look.memory('USAGE', key)) ?? 0,
    };
  }
  return found;
}

/** Keeps two servers and two clients running, one of which is killed ever so often, until all messages are sent. */
async function floodWithDeaths(): Promise<RunningScript[]> {
  const crew = (['server', 'client', 'server', 'client'] as const).map((role) => ({
    role,
    script: start(role),
  }));
  let sentByDead = 0;
  let kills = 0;
  const killer = setInterval(() => {
    const victim = crew[kills++ % crew.length]!;
    sentByDead += sentBy(victim.script);
    victim.script.signal('SIGKILL');
    running.delete(victim.script);
    victim.script = start(victim.role);
  }, KILL_EVERY_MS);
  try {
    const sent = (): number => crew.reduce((sum, { script }) => sum + sentBy(script), sentByDead);
    const isEnough = (): boolean => sent() >= MESSAGES && kills >= KILLS;
    await eventually(isEnough, `${MESSAGES} messages and ${KILLS} kills`, 100_000);
  } finally {
    clearInterval(killer);
  }
  return crew.map(({ script }) => script);
}

test('after 200,000 messages, with clients and servers that are killed all the time, no key has grown', async () => {
  const left = await floodWithDeaths();
  const clients = left.filter((_, i) => i % 2 === 1);
  for (const client of clients) {
    expect(client.hasEnded).toBe(false);
    await client.end('SIGTERM');
  }
  const group = ['{nest:0}:inbox:flood', '{nest:0}:topic:flood.told'];
  const isQuiet = async (): Promise<boolean> => {
    const all = await keys();
    const pending = await Promise.all(
      group.map(async (key) => ((await look.xpending(key, 'flood')) as [number])[0]),
    );
    const instances = all['{nest:0}:instances:flood']?.length;
    return group.every((key, i) => all[key]?.length === 0 && pending[i] === 0) && instances === 2;
  };
  // Dead instances are looked after for seven seconds.
  await eventually(isQuiet, 'everything to be settled and removed, and the dead to be forgotten', 30_000);
  const all = await keys();
  for (const [key, { length, ttl, bytes }] of Object.entries(all)) {
    const bound = boundOf(key);
    expect({ key, isBounded: length <= bound.length && bytes <= bound.bytes }).toEqual({
      key,
      isBounded: true,
    });
    // What belongs to a process that died expires.
    expect({ key, expires: ttl > 0 && ttl <= 24 * 3_600_000 }).toEqual({ key, expires: bound.expires });
  }
  expect(all['{nest:0}:dead:flood']).toMatchObject({ length: 50 });
  const consumers = (await look.xinfo('CONSUMERS', group[0]!, 'flood')) as unknown[];
  // Those of the living, and those of the orphans.
  expect(consumers.length).toBeLessThan(12);
}, 150_000);

function boundOf(key: string): { length: number; bytes: number; expires: boolean } {
  if (key.startsWith('nest:replies:') || key.startsWith('{nest:0}:lease:')) {
    // Unread replies to a client that was killed, until its stream expires.
    return { length: 1_000, bytes: 200_000, expires: true };
  }
  if (key === '{nest:0}:control:flood') {
    return { length: 10_500, bytes: 2_000_000, expires: false };
  }
  return { length: 200, bytes: 100_000, expires: key === '{nest:0}:sweep:flood' };
}
