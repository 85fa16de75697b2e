import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { RedisServer } from '../test/support/redis-server.js';
import type { ChildSetup, RunOrder, RunResult } from './messages.js';
import type { System } from './systems.js';

/** What one run of requests cost. */
export interface Figures {
  perSecond: number;
  /** Microseconds a request: client, server and Redis. */
  cpu: number;
  /** Redis commands a request. */
  commands: number;
}

/** A client process, a server process and a Redis of their own. */
export class Pair {
  private constructor(
    private readonly redis: RedisServer,
    private readonly server: ChildProcess,
    private readonly client: ChildProcess,
    private readonly commands: Redis,
  ) {}

  /** @param folder where the compiled `server.js` and `client.js` are */
  static async start(system: System, folder: string): Promise<Pair> {
    const redis = await RedisServer.start();
    const setup: ChildSetup = { system, port: redis.port };
    const server = await startChild(join(folder, 'server.js'), setup);
    const client = await startChild(join(folder, 'client.js'), setup);
    return new Pair(redis, server, client, new Redis(redis.url));
  }

  async measure(order: RunOrder): Promise<Figures> {
    const before = await this.usage();
    this.client.send(order);
    const [result] = (await once(this.client, 'message')) as [RunResult];
    const after = await this.usage();
    const cpu = result.cpu + (after.server - before.server) + (after.redis - before.redis);
    return {
      perSecond: result.requests / result.seconds,
      cpu: cpu / result.requests,
      commands: (after.commands - before.commands) / result.requests,
    };
  }

  async stop(): Promise<void> {
    this.server.disconnect();
    this.client.disconnect();
    this.commands.disconnect();
    await this.redis.stop();
  }

  private async usage(): Promise<{ server: number; redis: number; commands: number }> {
    this.server.send('cpu');
    const [server] = (await once(this.server, 'message')) as [number];
    const info = await this.commands.info('all');
    const field = (name: string): number =>
      Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
    return {
      server,
      redis: (field('used_cpu_user') + field('used_cpu_sys')) * 1e6,
      commands: field('total_commands_processed'),
    };
  }
}

async function startChild(file: string, setup: ChildSetup): Promise<ChildProcess> {
  const child = fork(file, [JSON.stringify(setup)]);
  await once(child, 'message');
  return child;
}
