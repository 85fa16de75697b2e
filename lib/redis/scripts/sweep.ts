import type { Redis } from 'ioredis';
import { TAKEN } from './renew-lease.js';
import { Script } from './script.js';

/** Before the key of a stream, in the hash of instances: entries of this stream wait there to be taken over. */
export const ORPHANS_MARK = '~';

/**
 * Finds what there is to do for a sweep: one instance at a time, and what it costs grows with the instances only.
 *
 * KEYS[1] sweep   KEYS[2] instances   KEYS[3] cancelled
 * ARGV[1] this instance   ARGV[2] milliseconds until the next sweep   ARGV[3] what the keys of leases begin with
 * Returns names, and behind each the lease: '' where there is none
 *
 * Where Redis is out of memory the turn cannot be taken, and the sweep is done without: twice does no harm.
 */
const SWEEP = new Script(`
if redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) == false then
  return {}
end
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
local found = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
  local lease = string.sub(name, 1, 1) ~= '${ORPHANS_MARK}' and redis.call('GET', ARGV[3] .. name)
  if not lease or lease == '${TAKEN}' then
    found[#found + 1] = name
    found[#found + 1] = lease or ''
  end
end
return found
`);

/** An instance that is not there any more. */
export interface DeadInstance {
  id: string;
  /** It was found before, or has left: it is only looked after, until nothing can be given to it any more. */
  isKnown: boolean;
}

/** What a sweep has found. */
export interface SweepFindings {
  /** Instances without a lease. */
  dead: DeadInstance[];
  /** Streams whose entries wait to be taken over. */
  orphaned: string[];
}

export async function sweep(
  redis: Redis,
  keys: { sweep: string; instances: string; cancelled: string; leases: string },
  instance: string,
  intervalMs: number,
): Promise<SweepFindings> {
  const found = (await SWEEP.run(
    redis,
    [keys.sweep, keys.instances, keys.cancelled],
    [instance, String(intervalMs), keys.leases],
  )) as string[];
  const findings: SweepFindings = { dead: [], orphaned: [] };
  for (let i = 0; i + 1 < found.length; i += 2) {
    const name = found[i]!;
    if (name.startsWith(ORPHANS_MARK)) {
      findings.orphaned.push(name.slice(ORPHANS_MARK.length));
    } else {
      findings.dead.push({ id: name, isKnown: found[i + 1] === TAKEN });
    }
  }
  return findings;
}
