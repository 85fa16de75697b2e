import { Redis } from 'ioredis';
import { RedisServer } from '../../test/support/redis-server.js';
import type { Broker, BrokerUsage } from './broker.js';

/** Asked for by the benchmark itself. */
const OWN_COMMANDS = new Set(['info']);

/** A Redis of its own. */
export class RedisBroker implements Broker {
  private constructor(
    private readonly server: RedisServer,
    private readonly redis: Redis,
  ) {}

  /** @param isPersistent whether it keeps an append-only file, written to disk every second */
  static async start(isPersistent: boolean): Promise<RedisBroker> {
    const server = await RedisServer.start(
      ...(isPersistent ? ['--appendonly', 'yes', '--appendfsync', 'everysec'] : []),
    );
    const redis = new Redis(server.url, { retryStrategy: () => null });
    // What goes wrong is told by the command that fails; without a listener it would be printed besides.
    redis.on('error', () => undefined);
    return new RedisBroker(server, redis);
  }

  get port(): number {
    return this.server.port;
  }

  usage(): Promise<BrokerUsage> {
    return usageOf(this.redis);
  }

  async stop(): Promise<void> {
    this.redis.disconnect();
    await this.server.stop();
  }
}

/** What one Redis has used. */
export async function usageOf(redis: Redis): Promise<BrokerUsage> {
  const info = await redis.info('all');
  const field = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]);
  const stats = [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)];
  return {
    cpu: (field('used_cpu_user') + field('used_cpu_sys')) * 1e6,
    commands: stats
      .filter(([, name]) => !OWN_COMMANDS.has(name!))
      .reduce((sum, [, , calls]) => sum + Number(calls), 0),
    memory: field('used_memory'),
  };
}
