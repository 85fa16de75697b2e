import type { Redis } from 'ioredis';
import { REMOVE_TOPIC } from './remove-topic.js';
import { Script } from './script.js';

/**
 * Removes a topic that nobody subscribes to: all of it where its last event is old, and else its old events.
 *
 * KEYS[1] topic   KEYS[2] topics   KEYS[3] subscriptions   KEYS[4] floors
 * ARGV[1] the version of the subscriptions, in which there was none to the pattern; '' where there were none at all
 * ARGV[2] pattern   ARGV[3] what is old, in ms
 * ARGV[4] '1': the pattern's entry in \`topics\` is removed, too, where there is no stream
 * Returns 'stale': the subscriptions have changed, nothing was done · 'missing': there is no stream · 'kept' · 'dropped'
 *
 * A script because a service must not subscribe, and an event not be published, between the look and the removal.
 */
const DROP_TOPIC = new Script(`${REMOVE_TOPIC}
if (redis.call('HGET', KEYS[3], 'version') or '') ~= ARGV[1] then
  return 'stale'
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[4] == '1' then
    redis.call('SREM', KEYS[2], ARGV[2])
  end
  return 'missing'
end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local last
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    last = info[i + 1]
  end
end
local old = redis.call('TIME')[1] * 1000 - ARGV[3]
if tonumber(string.match(last, '^%d+')) < old then
  removeTopic(KEYS[1], KEYS[4])
  redis.call('SREM', KEYS[2], ARGV[2])
  return 'dropped'
end
if old > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', old))
end
return 'kept'
`);

/** What became of a topic that nobody subscribes to. */
export type DropOutcome = 'stale' | 'missing' | 'kept' | 'dropped';

/** Runs the script. `version` must come from a look at the subscriptions that found none to the pattern. */
export async function dropTopic(
  redis: Redis,
  keys: { topics: string; subscriptions: string; floors: string; topic(pattern: string): string },
  version: string,
  pattern: string,
  olderThanMs: number,
  unregisterMissing: boolean,
): Promise<DropOutcome> {
  const answer = await DROP_TOPIC.run(
    redis,
    [keys.topic(pattern), keys.topics, keys.subscriptions, keys.floors],
    [version, pattern, String(olderThanMs), unregisterMissing ? '1' : '0'],
  );
  return answer as DropOutcome;
}
