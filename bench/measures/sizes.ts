import { Redis } from 'ioredis';
import { RedisServer } from '../../test/support/redis-server.js';
import { OURS, type Measure } from './measure.js';

const ENTRIES = 10_000;
const AT_ONCE = 500;
const PAYLOADS = [100, 1_000, 10_000];

/** What an entry holds besides its payload. */
const KINDS = {
  event: ['pattern', 'order.placed'],
  request: ['pattern', 'order.total', 'id', 'Zk3v9Qd0aXyB-10', 'reply', 'Zk3v9Qd0aXyB', 'ttl', '30000'],
};

/** How much of Redis' memory a message takes that waits, and how much more once it was given to an instance. */
export const sizes: Measure = {
  title: 'Memory of Redis for messages that wait',
  counted: 'message',
  isQuick: false,
  async run(_, results) {
    const server = await RedisServer.start();
    const redis = new Redis(server.url);
    try {
      for (const [kind, fields] of Object.entries(KINDS)) {
        for (const payload of PAYLOADS) {
          const setting = `${kind}, ${payload} B`;
          results.add({ system: OURS, setting }, 0, await measure(redis, fields, 'x'.repeat(payload)));
        }
      }
    } finally {
      redis.disconnect();
      await server.stop();
    }
  },
};

async function measure(
  redis: Redis,
  fields: readonly string[],
  data: string,
): Promise<{ bytesStored: number; bytesPending: number }> {
  await redis.flushall();
  const before = await usedMemory(redis);
  for (let i = 0; i < ENTRIES; i += AT_ONCE) {
    await Promise.all(
      Array.from({ length: AT_ONCE }, () => redis.xadd('stream', '*', ...fields, 'data', data)),
    );
  }
  const stored = await usedMemory(redis);
  await redis.xgroup('CREATE', 'stream', 'group', '0');
  for (let i = 0; i < ENTRIES; i += AT_ONCE) {
    await redis.xreadgroup('GROUP', 'group', 'instance', 'COUNT', AT_ONCE, 'STREAMS', 'stream', '>');
  }
  const pending = await usedMemory(redis);
  return { bytesStored: (stored - before) / ENTRIES, bytesPending: (pending - stored) / ENTRIES };
}

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
}
