import type { Redis } from 'ioredis';
import { isBusyGroup } from '../redis-errors.js';
import { parseMadeGroup, type MadeGroup } from '../replies.js';
import { ENTRY_IDS } from './entry-ids.js';
import { Script } from './script.js';

/**
 * Makes a consumer group, and its stream where that is missing.
 *
 * KEYS[1] stream   KEYS[2] floors   KEYS[3] topics, where there is ARGV[2]
 * ARGV[1] group
 * ARGV[2] a pattern: its topic is left alone where it is neither there nor among the topics
 * Returns {the id after which it starts, 1 if a floor was recorded, else 0}, nil where it was left alone; BUSYGROUP
 *         where it exists
 *
 * It starts at its floor, up to which it has settled everything. At the beginning where there is none, and where the
 * stream is not the one the floor was recorded for: it is missing, or ends below the floor. Such a floor is removed,
 * since the new stream may grow past it.
 *
 * A script because an event must not be published, and a stream not vanish, between the look and the making. The error
 * is returned, not raised: Redis 6.2 puts a raised one's first word away. It is told what it is about: of what a script
 * may not do, Redis does not name the command.
 */
const MAKE_GROUP = new Script(`${ENTRY_IDS}
local field = KEYS[1] .. ' ' .. ARGV[1]
local floor = redis.call('HGET', KEYS[2], field)
local from = '0-0'
if ARGV[2] and redis.call('EXISTS', KEYS[1]) == 0 and redis.call('SISMEMBER', KEYS[3], ARGV[2]) == 0 then
  return false
end
if floor and redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' and not isBefore(info[i + 1], floor) then
      from = floor
    end
  end
end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], from, 'MKSTREAM')
if made.err then
  return redis.error_reply(made.err .. ' (XGROUP CREATE ' .. KEYS[1] .. ')')
end
if floor and from ~= floor then
  redis.call('HDEL', KEYS[2], field)
end
return {from, floor and 1 or 0}
`);

/** Runs the script; resolves to `undefined` where the group exists. */
export async function makeGroup(
  redis: Redis,
  stream: string,
  floors: string,
  group: string,
): Promise<MadeGroup | undefined> {
  try {
    return parseMadeGroup(await MAKE_GROUP.run(redis, [stream, floors], [group]));
  } catch (error) {
    if (isBusyGroup(error)) {
      return undefined;
    }
    throw error;
  }
}

/** The same for a topic that a wildcard means, and that may have been removed: resolves to `gone` then. */
export async function makeGroupOfTopic(
  redis: Redis,
  keys: { topics: string; floors: string; topic(pattern: string): string },
  pattern: string,
  group: string,
): Promise<MadeGroup | 'gone' | undefined> {
  try {
    const all = [keys.topic(pattern), keys.floors, keys.topics];
    const reply = await MAKE_GROUP.run(redis, all, [group, pattern]);
    return reply === null ? 'gone' : parseMadeGroup(reply);
  } catch (error) {
    if (isBusyGroup(error)) {
      return undefined;
    }
    throw error;
  }
}
