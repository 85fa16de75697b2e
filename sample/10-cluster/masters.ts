import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';

const LOOK_EVERY_MS = 100;
const ANSWER_WITHIN_MS = 1_000;

/** The node that has a shard at present. */
export interface Master {
  /** `host:port`. */
  address: string;
  pid: number;
}

/** Finds the masters of shards, as somebody with redis-cli would. */
export class Masters {
  constructor(
    private readonly nodes: readonly string[],
    private readonly namespace: string,
  ) {}

  async of(shard: number): Promise<Master> {
    const [host, port] = await this.addressOf(shard);
    const info = await ask(`redis://${host}:${port}`, (redis) => redis.info('server'));
    return { address: `${host}:${port}`, pid: Number(/process_id:(\d+)/.exec(info)![1]) };
  }

  /** Resolves when a shard has another master. */
  async replaced(shard: number, { address }: Master, withinMs: number): Promise<Master> {
    const latest = performance.now() + withinMs;
    while (performance.now() < latest) {
      const [host, port] = await this.addressOf(shard);
      if (`${host}:${port}` !== address) {
        return this.of(shard);
      }
      await pause(LOOK_EVERY_MS);
    }
    throw new Error(`Shard ${shard} got no other master within ${withinMs} ms`);
  }

  private async addressOf(shard: number): Promise<[host: string, port: number]> {
    const { slot, slots } = await Promise.any(
      this.nodes.map((node) =>
        ask(node, async (redis) => ({
          slot: await redis.cluster('KEYSLOT', `{${this.namespace}:${shard}}`),
          slots: await redis.cluster('SLOTS'),
        })),
      ),
    );
    const [, , master] = slots.find(([first, last]) => first <= slot && slot <= last) ?? [];
    if (!master) {
      throw new Error(`Nobody serves slot ${slot}`);
    }
    const [host, port] = master;
    return [host, port];
  }
}

/** On a connection of its own: one that is kept would outlive its node. */
async function ask<T>(node: string, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(node, {
    lazyConnect: true,
    connectTimeout: ANSWER_WITHIN_MS,
    commandTimeout: ANSWER_WITHIN_MS,
    disconnectTimeout: ANSWER_WITHIN_MS,
    retryStrategy: () => null,
  });
  // Told by the promises below.
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}
