import type { Redis } from 'ioredis';
import { parseMadeRoom, type MadeRoom } from '../replies.js';
import { ENTRY_IDS } from './entry-ids.js';
import { Script } from './script.js';
import { BROADCAST_KEPT_MS } from './trim-topic.js';
import { WILDCARDS } from './wildcards.js';

/**
 * Cuts the oldest entries of a full stream, down to its bound, where that is allowed: where it was asked for, or where
 * the stream is a topic that nobody needs. Of one that is only read as a broadcast, what is young is needed.
 *
 * KEYS[1] stream
 * KEYS[2] hash of subscriptions, whose fields are '<service> <pattern>', and '{<service>} <pattern>' for broadcasts
 * KEYS[3] floors, which hold what was cut of topics that are read as broadcasts
 * ARGV[1] the bound
 * ARGV[2] the topic's pattern; '' for an inbox, which its service always needs
 * ARGV[3] 1: cut also what is needed
 * ARGV[4] for how long an entry is young, in ms
 * Returns the number of entries that were cut, or -1 where none may be; and 1 where what was cut was needed, else 0
 *
 * A script because a service may subscribe at any moment: it is in the hash before it publishes or reads, and what was
 * written after that must be there for its group.
 * XTRIM is exact: it frees whole nodes and goes through one, so that it costs next to nothing, and its count is true.
 */
const MAKE_ROOM = new Script(`${ENTRY_IDS}${WILDCARDS}
local bound = tonumber(ARGV[1])
local length = redis.call('XLEN', KEYS[1])
if length < bound then
  return {0, 1}
end
local needed = ARGV[2] == '' or #redis.call('XINFO', 'GROUPS', KEYS[1]) > 0
local isBroadcast = false
if ARGV[2] ~= '' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    local space = string.find(field, ' ', 1, true)
    if space and means(string.sub(field, space + 1), ARGV[2]) then
      if string.sub(field, 1, 1) == '{' then
        isBroadcast = true
      else
        needed = true
      end
    end
  end
end
local old = 0
local function noteCut(last)
  redis.pcall('HSET', KEYS[3], 'cut ' .. KEYS[1], last[1])
end
if isBroadcast and not needed then
  local time = redis.call('TIME')
  local young = string.format('%.0f', math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[4])) .. '-0'
  local last = redis.call('XREVRANGE', KEYS[1], idBefore(young), '-', 'COUNT', 1)[1]
  if last then
    old = redis.call('XTRIM', KEYS[1], 'MINID', young)
    noteCut(last)
  end
  if length - old < bound then
    return {old, 0}
  end
  needed = true
end
if needed and ARGV[3] ~= '1' then
  return {-1, 1}
end
local cut = 0
if isBroadcast and length - old > bound then
  -- All but one first, to see the last one that goes.
  cut = redis.call('XTRIM', KEYS[1], 'MAXLEN', bound + 1)
  noteCut(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1])
end
cut = cut + redis.call('XTRIM', KEYS[1], 'MAXLEN', bound)
return {cut, needed and 1 or 0}
`);

/** What the script is to do. */
export interface RoomRequest {
  stream: string;
  subscriptions: string;
  floors: string;
  maxLength: number;
  /** The pattern of a topic; `undefined` for an inbox. */
  pattern: string | undefined;
  /** Whether what somebody needs may be cut, too. */
  dropsOldest: boolean;
}

/** Runs the script. */
export async function makeRoom(
  redis: Redis,
  { stream, subscriptions, floors, maxLength, pattern, dropsOldest }: RoomRequest,
): Promise<MadeRoom> {
  const args = [String(maxLength), pattern ?? '', dropsOldest ? '1' : '0', String(BROADCAST_KEPT_MS)];
  return parseMadeRoom(await MAKE_ROOM.run(redis, [stream, subscriptions, floors], args));
}
