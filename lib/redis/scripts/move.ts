import type { Redis } from 'ioredis';
import { parsePending, type PendingEntry } from '../replies.js';
import { Script } from './script.js';
import { ORPHANS_MARK } from './sweep.js';

/**
 * Moves pending entries of a group from one consumer to another, those that are the first one's.
 *
 * KEYS[1] stream   KEYS[2] instances, where the entries become orphans: it is noted there that the stream has some
 * ARGV[1] group   ARGV[2] from   ARGV[3] to   ARGV[4] by how much their delivery counts are raised
 * ARGV[5] the idle time they have afterwards, in ms; 'keep': that which they have
 * ARGV[6] how many at most, where no ids are given   ARGV[7..] ids
 * Returns those that were moved as XPENDING would, with the idle time they had
 */
const MOVE = new Script(`
if KEYS[2] then
  redis.call('HDEL', KEYS[2], '')
  redis.call('HSET', KEYS[2], '${ORPHANS_MARK}' .. KEYS[1], ARGV[2])
end
local entries = {}
if #ARGV < 7 then
  entries = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[6], ARGV[2])
else
  for i = 7, #ARGV do
    entries[#entries + 1] = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
  end
end
local moved = {}
for _, entry in ipairs(entries) do
  local count = entry[4] + ARGV[4]
  local idle = ARGV[5] == 'keep' and entry[3] or ARGV[5]
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, entry[1], 'IDLE', idle, 'RETRYCOUNT', count, 'JUSTID')
  moved[#moved + 1] = {entry[1], ARGV[3], entry[3], count}
end
return moved
`);

/** What is moved, and how. */
export interface Move {
  stream: string;
  group: string;
  from: string;
  to: string;
  /** These, or the first so many. */
  which: readonly string[] | number;
  /** Their delivery counts are raised by so much. Default 0. */
  raise?: number;
  /** The idle time they have afterwards, in ms. Default 0. */
  idle?: number | 'keep';
  /** The key of the service's instances, where the entries become orphans: what nobody is told of, a sweep finds there. */
  instances?: string;
}

/** Moves pending entries from one consumer to another; resolves to those that were the first one's. Throws NOGROUP. */
export async function moveEntries(redis: Redis, move: Move): Promise<PendingEntry[]> {
  const { stream, group, from, to, which, raise = 0, idle = 0, instances } = move;
  const [limit, ids] = typeof which === 'number' ? [which, []] : [0, which];
  if (limit === 0 && ids.length === 0) {
    return [];
  }
  return parsePending(
    await MOVE.run(redis, instances === undefined ? [stream] : [stream, instances], [
      group,
      from,
      to,
      String(raise),
      String(idle),
      String(limit),
      ...ids,
    ]),
  );
}
