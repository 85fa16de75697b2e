import type { Redis } from 'ioredis';
import { isNoGroup } from '../redis-errors.js';
import { parseDeadLetterOutcome, type DeadLetterOutcome } from '../replies.js';
import { Script } from './script.js';

/**
 * Moves a pending entry to the dead letters.
 *
 * KEYS[1] the stream, KEYS[2] the dead letters
 * ARGV[1] group, ARGV[2] the consumer whose it must be, ARGV[3] the entry's id
 * ARGV[4] '1': the entry is removed from the stream
 * ARGV[5] how many dead letters are kept, exactly
 * ARGV    the meta fields and their values
 * Returns {'not-owned'}: nothing was done · {'missing'}: acknowledged, since the entry is not in the stream any more ·
 *         {'moved', the dead letter's id, how many of the oldest were dropped}
 *
 * A script because the entry must never be in both places, in neither, or be given up by an instance from which it
 * has been taken meanwhile. XADD is the first command that writes, so what refuses it (OOM, READONLY, WRONGTYPE)
 * leaves everything as it was; its error is returned, not raised, since Redis 6.2 puts a raised one's first word away.
 * Lua cannot unpack more than 8,000 values (LUAI_MAXCSTACK): an entry that has more is stored cut, and says so.
 */
const DEAD_LETTER = new Script(`
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if pending.err then
  return pending
end
if not pending[1] or pending[1][2] ~= ARGV[2] then
  return {'not-owned'}
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if not entry then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  return {'missing'}
end
local letter = {}
for i = 6, #ARGV do
  letter[#letter + 1] = ARGV[i]
end
local fields = entry[2]
local room = 7900 - #letter
if #fields > room then
  letter[#letter + 1] = 'dead-cut'
  letter[#letter + 1] = '1'
end
for i = 1, math.min(#fields, room - room % 2) do
  letter[#letter + 1] = fields[i]
end
local id = redis.pcall('XADD', KEYS[2], '*', unpack(letter))
if type(id) == 'table' then
  return id
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] == '1' then
  redis.call('XDEL', KEYS[1], ARGV[3])
end
return {'moved', id, redis.call('XTRIM', KEYS[2], 'MAXLEN', ARGV[5])}
`);

/** What is moved, and where to. */
export interface DeadLetterMove {
  stream: string;
  /** The dead letters of the group's service; in the stream's hash slot. */
  dead: string;
  group: string;
  /** The consumer for which the entry must be pending. */
  owner: string;
  id: string;
  /** Whether the entry is removed from the stream: those of an inbox are, a topic has other readers. */
  remove: boolean;
  /** How many dead letters are kept; the oldest are dropped. */
  maxLength: number;
  /** Fields and values, before those of the entry. */
  meta: readonly string[];
}

/**
 * Runs the script. Rejects with what refuses the XADD, such as OOM: nothing has changed then. Where the group is gone
 * the entry is not ours either.
 */
export async function deadLetter(redis: Redis, move: DeadLetterMove): Promise<DeadLetterOutcome> {
  const { stream, dead, group, owner, id, remove, maxLength, meta } = move;
  const args = [group, owner, id, remove ? '1' : '0', String(maxLength), ...meta];
  try {
    return parseDeadLetterOutcome(await DEAD_LETTER.run(redis, [stream, dead], args));
  } catch (error) {
    if (isNoGroup(error)) {
      return { outcome: 'not-owned' };
    }
    throw error;
  }
}
