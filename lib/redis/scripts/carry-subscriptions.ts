import type { Redis } from 'ioredis';
import type { Subscription } from '../replies.js';
import { Script } from './script.js';

/** Subscriptions in one call: a script holds up everybody else. */
const MAX_PER_CALL = 500;

/**
 * Writes subscriptions that come from another shard, as they were there, unless they are here already.
 *
 * KEYS[1] subscriptions
 * ARGV    for each: its field, its value
 * Returns how many of them are new
 *
 * A script because `version` must be raised together with a new field: see subscribe.ts.
 */
const CARRY_SUBSCRIPTIONS = new Script(`
local added = 0
for i = 1, #ARGV, 2 do
  added = added + redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
end
if added > 0 then
  local time = redis.call('TIME')
  redis.call('HSETNX', KEYS[1], 'version', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
return added
`);

/** Resolves when all are written. */
export async function carrySubscriptions(
  redis: Redis,
  subscriptions: string,
  carried: readonly Subscription[],
): Promise<void> {
  for (let i = 0; i < carried.length; i += MAX_PER_CALL) {
    const some = carried.slice(i, i + MAX_PER_CALL);
    const args = some.flatMap(({ field, value }) => [field, value]);
    await CARRY_SUBSCRIPTIONS.run(redis, [subscriptions], args);
  }
}
