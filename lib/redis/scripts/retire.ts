import type { Redis } from 'ioredis';
import { BLOCK_GRACE_MS, BLOCK_MS } from '../blocking-reader.js';
import { ALONE, ORPHANS, ORPHANS_ALONE, ORPHANS_WAITING, SUSPECTS, WAITING } from '../consumers.js';
import { REMEMBER_TAKEN_MS, TAKEN } from './renew-lease.js';
import { Script } from './script.js';
import { ORPHANS_MARK } from './sweep.js';

/**
 * For so long after an instance was found dead Redis may still give entries to it: its machine is gone, but Redis does
 * not know, and a read of its is blocked there. So it is looked after until then.
 */
const QUARANTINE_MS = BLOCK_MS + BLOCK_GRACE_MS;

/** Lua: whether the instance of the lease in KEYS[2] may be forgotten. */
const IS_OVER = `
local lease = redis.call('GET', KEYS[2])
local isOver = not lease
  or lease == '${TAKEN}' and redis.call('PTTL', KEYS[2]) <= ${REMEMBER_TAKEN_MS - QUARANTINE_MS}
if not isOver then
  return 0
end
`;

/**
 * Removes an instance's consumers from one stream, those that hold nothing: XGROUP DELCONSUMER drops what is pending,
 * so it is called here only, in one step with the check.
 *
 * KEYS[1] stream   KEYS[2] lease
 * ARGV[1] group   ARGV[2] instance
 * Returns 1 where none is left, 0 where one is, or the instance lives, or has not been dead for long
 */
const RETIRE_CONSUMERS = new Script(`${IS_OVER}
local gone = 1
for _, suffix in ipairs({'', '${WAITING}', '${ALONE}'}) do
  local name = ARGV[2] .. suffix
  if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, name) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
  else
    gone = 0
  end
end
return gone
`);

/** Forgets an instance that holds nothing any more, unless it lives. KEYS[1] instances, KEYS[2] lease, ARGV[1] instance */
const FORGET_INSTANCE = new Script(`${IS_OVER}
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
`);

/** Forgets that a stream has orphans, unless it has some. KEYS[1] stream, KEYS[2] instances, ARGV[1] group */
const FORGET_ORPHANS = new Script(`
for _, name in ipairs({'${ORPHANS}', '${ORPHANS_ALONE}', '${SUSPECTS}', '${ORPHANS_WAITING}'}) do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, name) > 0 then
    return 0
  end
end
redis.call('HDEL', KEYS[2], '${ORPHANS_MARK}' .. KEYS[1])
return 1
`);

/** @returns whether the instance has no consumer in the stream any more. Throws NOGROUP as it comes */
export async function retireConsumers(
  redis: Redis,
  keys: { stream: string; lease: string },
  group: string,
  instance: string,
): Promise<boolean> {
  return (await RETIRE_CONSUMERS.run(redis, [keys.stream, keys.lease], [group, instance])) === 1;
}

/** @returns whether it is forgotten */
export async function forgetInstance(
  redis: Redis,
  keys: { instances: string; lease: string },
  instance: string,
): Promise<boolean> {
  return (await FORGET_INSTANCE.run(redis, [keys.instances, keys.lease], [instance])) === 1;
}

/** @returns whether the stream has no orphans. Throws NOGROUP as it comes */
export async function forgetOrphans(
  redis: Redis,
  keys: { stream: string; instances: string },
  group: string,
): Promise<boolean> {
  return (await FORGET_ORPHANS.run(redis, [keys.stream, keys.instances], [group])) === 1;
}
