import type { Redis } from 'ioredis';
import { ALONE, ORPHANS, ORPHANS_ALONE, ORPHANS_WAITING, SUSPECTS, WAITING } from '../consumers.js';
import { REMEMBER_TAKEN_MS, TAKEN } from './renew-lease.js';
import { Script } from './script.js';
import { ORPHANS_MARK } from './sweep.js';

/** Entries in one script call: it holds up everything else in Redis. */
const MAX_PER_CALL = 1_000;

/**
 * Makes orphans of an instance's entries in one stream: they go to consumers that no instance is.
 *
 * KEYS[1] stream   KEYS[2] lease   KEYS[3] instances
 * ARGV[1] group   ARGV[2] instance   ARGV[3] how many at most   ARGV[4] from which delivery on alone
 * ARGV[5] 'died' or 'left'   ARGV[6] milliseconds that its death is remembered
 * Returns how many; -1 where it lives after all
 *
 * What ran when an instance died may have killed it: that is a delivery, and from the given one on it runs alone. What
 * only waited, or was handed over by an instance that left, is as it was. Waiting entries keep their idle time, which
 * says when they are due. HDEL of nothing comes first: Redis refuses what needs memory only before a script has written.
 */
const ORPHAN = new Script(`
redis.call('HDEL', KEYS[3], '')
local died = ARGV[5] == 'died'
if died then
  local lease = redis.call('GET', KEYS[2])
  if lease and lease ~= '${TAKEN}' then
    return -1
  end
  if not lease then
    redis.call('SET', KEYS[2], '${TAKEN}', 'PX', ARGV[6])
  end
end
local left = tonumber(ARGV[3])
local marked = false
local function move(from, to, toAlone, raise, keepIdle)
  local entries = left > 0 and redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', left, ARGV[2] .. from) or {}
  left = left - #entries
  for _, entry in ipairs(entries) do
    if not marked then
      redis.call('HSET', KEYS[3], '${ORPHANS_MARK}' .. KEYS[1], ARGV[2])
      marked = true
    end
    local count = entry[4] + raise
    local target = raise > 0 and count >= tonumber(ARGV[4]) and toAlone or to
    local idle = keepIdle and entry[3] or 0
    redis.call('XCLAIM', KEYS[1], ARGV[1], target, 0, entry[1], 'IDLE', idle, 'RETRYCOUNT', count, 'JUSTID')
  end
end
local raise = died and 1 or 0
move('${WAITING}', '${ORPHANS_WAITING}', '${ORPHANS_WAITING}', 0, true)
move('${ALONE}', died and '${SUSPECTS}' or '${ORPHANS_ALONE}', '${SUSPECTS}', raise, false)
move('', '${ORPHANS}', '${ORPHANS_ALONE}', raise, false)
return tonumber(ARGV[3]) - left
`);

/**
 * Makes orphans of what an instance holds in a stream.
 * @param aloneFrom from which delivery on an entry is to run alone
 * @returns how many; `undefined` where the instance lives after all. Throws NOGROUP as it comes
 */
export async function orphan(
  redis: Redis,
  keys: { stream: string; lease: string; instances: string },
  group: string,
  instance: string,
  aloneFrom: number,
  why: 'died' | 'left',
): Promise<number | undefined> {
  let total = 0;
  for (;;) {
    const moved = (await ORPHAN.run(
      redis,
      [keys.stream, keys.lease, keys.instances],
      [group, instance, String(MAX_PER_CALL), String(aloneFrom), why, String(REMEMBER_TAKEN_MS)],
    )) as number;
    if (moved < 0) {
      return undefined;
    }
    total += moved;
    if (moved < MAX_PER_CALL) {
      return total;
    }
  }
}
