import type { Redis } from 'ioredis';
import { Script } from './script.js';

/** Entries that are looked at together: they are copied for the script, and each may be as large as a message. */
const AT_ONCE = 20;

/**
 * Counts the entries of a stream after an id, without sending them.
 *
 * KEYS[1] stream
 * ARGV[1] the id   ARGV[2] where counting ends   ARGV[3] how many are looked at together
 * Returns the number of entries, or ARGV[2] where there are more
 *
 * A script because XLEN counts what was delivered, too, and XINFO's `lag` is there from Redis 7 on, and not always.
 */
const COUNT_AFTER = new Script(`
local count = 0
local after = ARGV[1]
local limit = tonumber(ARGV[2])
while count < limit do
  local entries = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', ARGV[3])
  count = count + #entries
  if #entries < tonumber(ARGV[3]) then
    break
  end
  after = entries[#entries][1]
end
return math.min(count, limit)
`);

/** How many entries lie after an id, counted up to `limit`. */
export async function countAfter(
  redis: Redis,
  stream: string,
  after: string,
  limit: number,
): Promise<number> {
  return Number(await COUNT_AFTER.run(redis, [stream], [after, String(limit), String(AT_ONCE)]));
}
