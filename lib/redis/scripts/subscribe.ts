import type { Redis } from 'ioredis';
import { Script } from './script.js';

/** Subscriptions in one call: a script holds up everybody else. */
const MAX_PER_CALL = 500;

/**
 * Writes that a service subscribes to patterns, and was seen now.
 *
 * KEYS[1] subscriptions
 * ARGV[1] forgetAfter, in ms   ARGV[2..] the fields of its subscriptions
 * Returns how many of them are new
 *
 * A script for Redis' clock, and because `version` must be raised together with a new field: whoever trims by what it
 * read before is told so by that. It starts at the time, so that after a FLUSHALL no former version comes again.
 */
const SUBSCRIBE = new Script(`
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local added = 0
for i = 2, #ARGV do
  added = added + redis.call('HSET', KEYS[1], ARGV[i], now .. ' ' .. ARGV[1])
end
if added > 0 then
  redis.call('HSETNX', KEYS[1], 'version', now)
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
return added
`);

/** Writes or renews subscriptions, by their fields; resolves, when all are written, to how many are new. */
export async function subscribe(
  redis: Redis,
  subscriptions: string,
  fields: readonly string[],
  forgetAfter: number,
): Promise<number> {
  const calls: Promise<unknown>[] = [];
  for (let i = 0; i < fields.length; i += MAX_PER_CALL) {
    const args = [String(forgetAfter), ...fields.slice(i, i + MAX_PER_CALL)];
    calls.push(SUBSCRIBE.run(redis, [subscriptions], args));
  }
  const added = (await Promise.all(calls)) as number[];
  return added.reduce((sum, count) => sum + count, 0);
}
