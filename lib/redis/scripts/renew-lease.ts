import type { Redis } from 'ioredis';
import { Script } from './script.js';

/** The value of a lease whose instance was found dead: others have begun to take its entries. */
export const TAKEN = 'taken';

/**
 * How long it is remembered that an instance was found dead. One that comes back later finds nothing, and must ask
 * which entries are its own.
 */
export const REMEMBER_TAKEN_MS = 24 * 3_600_000;

/**
 * Renews a lease, or takes it again where it is gone.
 *
 * KEYS[1] lease   KEYS[2] instances
 * ARGV[1] its value   ARGV[2] milliseconds   ARGV[3] instance
 *
 * PEXPIRE works when Redis is out of memory. SET does not, unless a command before it in the same script has written:
 * so PEXPIRE comes first in any case, and nobody is fenced for want of memory. The instance is entered again in case
 * its hash was deleted.
 */
const RENEW = new Script(`
local found = redis.call('GET', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if found == ARGV[1] then
  redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[1])
  return 'kept'
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[1])
return found and 'taken' or 'gone'
`);

/** What had become of a lease until it was renewed. */
export type LeaseState =
  /** It had not run out. */
  | 'kept'
  /** It had, or Redis had lost it, and nobody has taken anything for that. */
  | 'gone'
  /** It had, and others have begun to take what its instance held. */
  | 'taken';

export async function renewLease(
  redis: Redis,
  keys: { lease: string; instances: string },
  value: string,
  ttl: number,
  instance: string,
): Promise<LeaseState> {
  return (await RENEW.run(redis, [keys.lease, keys.instances], [value, String(ttl), instance])) as LeaseState;
}
