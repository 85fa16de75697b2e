import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { RedisServer } from '../test/support/redis-server.js';
import type { ChildSetup, RunOrder, RunResult } from './messages.js';
import { SYSTEMS, type System } from './systems.js';

/**
 * Requests per second and CPU time per request of this transport and of Nest's built-in Redis transport, in one run:
 * one client process, one server process and a Redis of its own for each, in alternating rounds.
 */

const ROUNDS = Number(process.argv[2] ?? 3);
const SECONDS = Number(process.argv[3] ?? 3);
const IN_FLIGHT = [1, 16, 128];
const WARM_UP: RunOrder = { inFlight: 128, seconds: 1 };

interface Pair {
  redis: RedisServer;
  server: ChildProcess;
  client: ChildProcess;
  commands: Redis;
}

interface Figures {
  perSecond: number;
  /** Microseconds a request: client, server and Redis. */
  cpu: number;
  /** Redis commands a request. */
  commands: number;
}

const pairs = new Map<System, Pair>();
const figures = new Map<string, Figures[]>();
try {
  for (const system of SYSTEMS) {
    pairs.set(system, await startPair(system));
  }
  for (const system of SYSTEMS) {
    await measure(system, WARM_UP);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const inFlight of IN_FLIGHT) {
      for (const system of round % 2 === 0 ? SYSTEMS : [...SYSTEMS].reverse()) {
        const key = `${system} ${inFlight}`;
        figures.set(key, [
          ...(figures.get(key) ?? []),
          await measure(system, { inFlight, seconds: SECONDS }),
        ]);
      }
    }
  }
  print();
} finally {
  for (const { server, client, commands, redis } of pairs.values()) {
    server.disconnect();
    client.disconnect();
    commands.disconnect();
    await redis.stop();
  }
}

async function startPair(system: System): Promise<Pair> {
  const redis = await RedisServer.start();
  const setup: ChildSetup = { system, port: redis.port };
  const server = await startChild('./server.js', setup);
  const client = await startChild('./client.js', setup);
  return { redis, server, client, commands: new Redis(redis.url) };
}

async function startChild(file: string, setup: ChildSetup): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(setup)]);
  await once(child, 'message');
  return child;
}

async function measure(system: System, order: RunOrder): Promise<Figures> {
  const { server, client, commands } = pairs.get(system)!;
  const before = await usage(server, commands);
  client.send(order);
  const [result] = (await once(client, 'message')) as [RunResult];
  const after = await usage(server, commands);
  const cpu = result.cpu + (after.server - before.server) + (after.redis - before.redis);
  return {
    perSecond: result.requests / result.seconds,
    cpu: cpu / result.requests,
    commands: (after.commands - before.commands) / result.requests,
  };
}

async function usage(
  server: ChildProcess,
  redis: Redis,
): Promise<{ server: number; redis: number; commands: number }> {
  server.send('cpu');
  const [serverCpu] = (await once(server, 'message')) as [number];
  const info = await redis.info('all');
  const field = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
  return {
    server: serverCpu,
    redis: (field('used_cpu_user') + field('used_cpu_sys')) * 1e6,
    commands: field('total_commands_processed'),
  };
}

function print(): void {
  const rows: Record<string, Record<string, string | number>> = {};
  for (const inFlight of IN_FLIGHT) {
    for (const system of SYSTEMS) {
      const all = figures.get(`${system} ${inFlight}`) ?? [];
      const base = figures.get(`nest-redis ${inFlight}`) ?? [];
      rows[`${system}, ${inFlight} in flight`] = {
        'requests/s': Math.round(median(all.map(({ perSecond }) => perSecond))),
        'CPU µs/request': round(median(all.map(({ cpu }) => cpu))),
        'commands/request': round(median(all.map(({ commands }) => commands))),
        'rate x nest-redis': round(median(all.map(({ perSecond }, i) => perSecond / base[i]!.perSecond))),
        'CPU x nest-redis': round(median(all.map(({ cpu }, i) => cpu / base[i]!.cpu))),
      };
    }
  }
  console.table(rows);
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
