import type { Redis } from 'ioredis';
import { ENTRY_IDS } from './entry-ids.js';
import { Script } from './script.js';

/** Entries that one call removes, about. Measured: up to 1.2 us each, with payloads of 5 KB, in which Redis does nothing else. */
const MAX_REMOVED = 10_000;

/**
 * Removes the entries of a topic that all subscribed services have settled, and records how far each of them is. Where
 * instances read the topic by themselves, as broadcasts, what is young is kept for them, and what was removed recorded.
 *
 * KEYS[1] topic   KEYS[2] subscriptions   KEYS[3] floors
 * ARGV[1] the version of the subscriptions from which the groups were found
 * ARGV[2] how many entries are removed at most, about
 * ARGV[3] for how long entries are kept for broadcasts, in ms; '' where there are none
 * ARGV[4..] the groups of all subscribed services
 * Returns 'stale': the subscriptions have changed, nothing was done · 'kept': a group is missing, so all is kept, or
 *         nobody subscribes · 'more': there is more to remove · 'young': something is kept for broadcasts · 'done'
 *
 * A script because a service must not subscribe, and a group not begin, between the look and the cut. A group has
 * settled all before its first pending entry, and all that was delivered where nothing is pending.
 *
 * Trimming whole nodes of the stream is cheap and can be bounded; what is left of the last node is cut exactly. XTRIM
 * comes before HSET, since Redis at its memory limit refuses HSET unless the script has written already, and XTRIM is
 * what helps then. A floor that is not recorded is only an older one.
 */
const TRIM_TOPIC = new Script(`${ENTRY_IDS}
if redis.call('HGET', KEYS[2], 'version') ~= ARGV[1] then
  return 'stale'
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'kept'
end
local groups = {}
for _, reply in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #reply, 2 do
    group[reply[i]] = reply[i + 1]
  end
  groups[group.name] = group
end
local lowest
local isComplete = true
local floors = {}
for i = 4, #ARGV do
  local group = groups[ARGV[i]]
  if group then
    local floor = group['last-delivered-id']
    if group.pending > 0 then
      local beforePending = idBefore(redis.call('XPENDING', KEYS[1], ARGV[i], '-', '+', 1)[1][1])
      if isBefore(beforePending, floor) then
        floor = beforePending
      end
    end
    if not lowest or isBefore(floor, lowest) then
      lowest = floor
    end
    floors[#floors + 1] = KEYS[1] .. ' ' .. ARGV[i]
    floors[#floors + 1] = floor
  else
    isComplete = false
  end
end
local answer = 'kept'
local first = lowest and idAfter(lowest)
if isComplete and ARGV[3] ~= '' then
  local time = redis.call('TIME')
  local young = string.format('%.0f', math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[3])) .. '-0'
  if not first or isBefore(young, first) then
    first = young
  end
end
if isComplete and first then
  answer = 'done'
  if ARGV[3] ~= '' and first ~= '0-0' then
    local cut = redis.call('XREVRANGE', KEYS[1], idBefore(first), '-', 'COUNT', 1)[1]
    if cut then
      floors[#floors + 1] = 'cut ' .. KEYS[1]
      floors[#floors + 1] = cut[1]
    end
  end
  if redis.call('XTRIM', KEYS[1], 'MINID', '~', first, 'LIMIT', ARGV[2]) > ARGV[2] / 2 then
    answer = 'more'
  else
    redis.call('XTRIM', KEYS[1], 'MINID', first)
    if ARGV[3] ~= '' and redis.call('XLEN', KEYS[1]) > 0 then
      answer = 'young'
    end
  end
end
if #floors > 0 then
  redis.pcall('HSET', KEYS[3], unpack(floors))
end
return answer
`);

/** What came of a trim. */
export type TrimOutcome = 'stale' | 'kept' | 'more' | 'young' | 'done';

/** For how long the entries of a topic are kept for instances that read it as a broadcast. */
export const BROADCAST_KEPT_MS = 60_000;

/**
 * Runs the script once. All of what is said of subscriptions must come from one look at them.
 * @param hasBroadcasts whether instances read the topic by themselves
 */
export async function trimTopic(
  redis: Redis,
  keys: { subscriptions: string; floors: string },
  topic: string,
  version: string,
  groups: readonly string[],
  hasBroadcasts = false,
): Promise<TrimOutcome> {
  const kept = hasBroadcasts ? String(BROADCAST_KEPT_MS) : '';
  const answer = await TRIM_TOPIC.run(
    redis,
    [topic, keys.subscriptions, keys.floors],
    [version, String(MAX_REMOVED), kept, ...groups],
  );
  return answer as TrimOutcome;
}
