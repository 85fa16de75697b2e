import type { Redis } from 'ioredis';
import { parseMadeRoom, type MadeRoom } from '../replies.js';
import { Script } from './script.js';

/**
 * Cuts the oldest entries of a full stream, down to its bound, where that is allowed: where it was asked for, or where
 * the stream is a topic that nobody needs.
 *
 * KEYS[1] stream
 * KEYS[2] hash of subscriptions, whose fields are '<service> <pattern>'
 * ARGV[1] the bound
 * ARGV[2] the topic's pattern; '' for an inbox, which its service always needs
 * ARGV[3] 1: cut also what is needed
 * Returns the number of entries that were cut, or -1 where none may be; and 1 where the stream is needed, else 0
 *
 * A script because a service may subscribe at any moment: it is in the hash before it publishes or reads, and what was
 * written after that must be there for its group.
 * XTRIM is exact: it frees whole nodes and goes through one, so that it costs next to nothing, and its count is true.
 */
const MAKE_ROOM = new Script(`
local bound = tonumber(ARGV[1])
local length = redis.call('XLEN', KEYS[1])
if length < bound then
  return {0, 1}
end
local needed = ARGV[2] == '' or #redis.call('XINFO', 'GROUPS', KEYS[1]) > 0
if not needed then
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    local space = string.find(field, ' ', 1, true)
    if space and string.sub(field, space + 1) == ARGV[2] then
      needed = true
      break
    end
  end
end
if needed and ARGV[3] ~= '1' then
  return {-1, 1}
end
return {redis.call('XTRIM', KEYS[1], 'MAXLEN', bound), needed and 1 or 0}
`);

/** What the script is to do. */
export interface RoomRequest {
  stream: string;
  subscriptions: string;
  maxLength: number;
  /** The pattern of a topic; `undefined` for an inbox. */
  pattern: string | undefined;
  /** Whether what somebody needs may be cut, too. */
  dropsOldest: boolean;
}

/** Runs the script. */
export async function makeRoom(
  redis: Redis,
  { stream, subscriptions, maxLength, pattern, dropsOldest }: RoomRequest,
): Promise<MadeRoom> {
  const args = [String(maxLength), pattern ?? '', dropsOldest ? '1' : '0'];
  return parseMadeRoom(await MAKE_ROOM.run(redis, [stream, subscriptions], args));
}
