import type { Redis } from 'ioredis';
import { REMOVE_TOPIC } from './remove-topic.js';
import { Script } from './script.js';

/** How much news of topics is kept; whoever missed more reads the set. */
export const ANNOUNCE_MAX_LENGTH = 10_000;

/**
 * Removes, in two steps, a topic to which only wildcards subscribe, where everything in it is settled and nothing was
 * published for long.
 *
 * KEYS[1] topic   KEYS[2] topics   KEYS[3] subscriptions   KEYS[4] floors   KEYS[5] idle   KEYS[6] announce
 * ARGV[1] the version of the subscriptions, in which only wildcards meant the pattern   ARGV[2] pattern
 * ARGV[3] what is long, in ms   ARGV[4] how long the first step comes before the second, in ms
 * ARGV[5] '1': the first step is taken, too, where there is no stream
 * Returns 'stale': the subscriptions have changed, nothing was done · 'missing': there is no stream · 'kept': it is in use · 'leaving': it is not among
 *         the topics any more, but still there · 'dropped'
 *
 * The first step takes it out of `topics`, so that whoever publishes to it registers it again; it goes on being read.
 * Publishers remember for a while that they have registered a pattern, so it may be written to in between: then it is
 * registered by this script. Only when that time has passed, the stream goes, and the readers are told.
 *
 * A script because nothing must be published between the look and the removal.
 */
const DROP_IDLE_TOPIC = new Script(`${REMOVE_TOPIC}
if (redis.call('HGET', KEYS[3], 'version') or '') ~= ARGV[1] then
  return 'stale'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local isIdle = true
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      isIdle = tonumber(string.match(info[i + 1], '^%d+')) < now - ARGV[3]
    end
  end
  isIdle = isIdle and redis.call('XLEN', KEYS[1]) == 0
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    for i = 1, #reply, 2 do
      isIdle = isIdle and not (reply[i] == 'pending' and reply[i + 1] > 0)
    end
  end
end
local since = redis.call('ZSCORE', KEYS[5], ARGV[2])
if not since and ARGV[5] ~= '1' and redis.call('EXISTS', KEYS[1]) == 0 then
  return 'missing'
end
local isRegistered = redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1
if not isIdle then
  redis.call('ZREM', KEYS[5], ARGV[2])
  if not isRegistered then
    redis.call('XADD', KEYS[6], 'MAXLEN', '~', ${ANNOUNCE_MAX_LENGTH}, '*', 'topic', ARGV[2])
    redis.call('SADD', KEYS[2], ARGV[2])
  end
  return 'kept'
end
if not since or isRegistered then
  redis.call('SREM', KEYS[2], ARGV[2])
  redis.call('ZADD', KEYS[5], now, ARGV[2])
  return 'leaving'
end
if now - since < tonumber(ARGV[4]) then
  return 'leaving'
end
removeTopic(KEYS[1], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('XADD', KEYS[6], 'MAXLEN', '~', ${ANNOUNCE_MAX_LENGTH}, '*', 'gone', ARGV[2])
return 'dropped'
`);

/** What became of a topic that only wildcards mean. */
export type IdleOutcome = 'stale' | 'missing' | 'kept' | 'leaving' | 'dropped';

/** The keys of a shard that are touched. */
export interface IdleKeys {
  topics: string;
  subscriptions: string;
  floors: string;
  idle: string;
  announce: string;
  topic(pattern: string): string;
}

/**
 * How long a publisher may hold a pattern for registered without having looked, in ms. It looks again before, in the
 * background, where it publishes.
 */
export const REGISTERED_FOR_MS = 120_000;

/** How long a topic that was taken out of `topics` is still read: longer than any publisher takes it for registered. */
export const LEAVING_FOR_MS = 1.5 * REGISTERED_FOR_MS;

/** Runs the script. `version` must come from a look at the subscriptions in which only wildcards meant the pattern. */
export async function dropIdleTopic(
  redis: Redis,
  keys: IdleKeys,
  version: string,
  pattern: string,
  olderThanMs: number,
  unregisterMissing: boolean,
): Promise<IdleOutcome> {
  const answer = await DROP_IDLE_TOPIC.run(
    redis,
    [keys.topic(pattern), keys.topics, keys.subscriptions, keys.floors, keys.idle, keys.announce],
    [version, pattern, String(olderThanMs), String(LEAVING_FOR_MS), unregisterMissing ? '1' : '0'],
  );
  return answer as IdleOutcome;
}
