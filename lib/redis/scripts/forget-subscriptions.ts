import type { Redis } from 'ioredis';
import type { Subscription } from '../replies.js';
import { Script } from './script.js';

/** Subscriptions in one call: a script holds up everybody else. */
const MAX_PER_CALL = 500;

/**
 * Removes subscriptions, those that are still as they were found.
 *
 * KEYS[1] subscriptions   KEYS[2] floors
 * ARGV    for each: its field, the floor's field, the value that was found
 * Returns for each 1 if it was removed, else 0
 *
 * A script because one that was renewed meanwhile must stay, and because `version` must be raised together with the
 * removal. The group's floor goes with it; those of topics that a wildcard meant go with their topics.
 */
const FORGET = new Script(`
local answers = {}
local removed = 0
for i = 1, #ARGV, 3 do
  local isAsFound = redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 2]
  if isAsFound then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i + 1])
  end
  answers[#answers + 1] = isAsFound and 1 or 0
end
if removed > 0 then
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
return answers
`);

/** Removes those subscriptions that have not been renewed since they were read; resolves to these. */
export async function forgetSubscriptions(
  redis: Redis,
  keys: { subscriptions: string; floors: string; topic(pattern: string): string },
  found: readonly Subscription[],
): Promise<Subscription[]> {
  const forgotten: Subscription[] = [];
  for (let i = 0; i < found.length; i += MAX_PER_CALL) {
    const some = found.slice(i, i + MAX_PER_CALL);
    const args = some.flatMap(({ field, service, pattern, isBroadcast, value }) => [
      field,
      // Broadcasts have none.
      isBroadcast ? '' : `${keys.topic(pattern)} ${service}`,
      value,
    ]);
    const answers = (await FORGET.run(redis, [keys.subscriptions, keys.floors], args)) as number[];
    forgotten.push(...some.filter((_, at) => answers[at] === 1));
  }
  return forgotten;
}
