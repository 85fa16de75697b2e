import type { Redis } from 'ioredis';
import { parseReplayOutcome, type ReplayOutcome } from '../replies.js';
import { Script } from './script.js';

/**
 * Puts the message of a dead letter into an inbox, and removes the letter.
 *
 * KEYS[1] the dead letters, KEYS[2] the inbox
 * ARGV[1] the dead letter's id, ARGV[2] what the names of its leading fields begin with that are not the message's
 * ARGV    the names of fields of the message that are left out
 * Returns {'replayed', the new entry's id} · {'missing'}: there is no such letter · {'empty'}: nothing of a message is in it
 *
 * A script because two who replay a letter at once must not both do so, and it must not be lost in between. XADD is
 * the first command that writes, so what refuses it (OOM, READONLY) leaves the letter where it was; its error is
 * returned, not raised, since Redis 6.2 puts a raised one's first word away.
 */
const REPLAY = new Script(`
local letter = redis.pcall('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if letter.err then
  return letter
end
if not letter[1] then
  return {'missing'}
end
local fields = letter[1][2]
local first = 1
while fields[first] and string.sub(fields[first], 1, #ARGV[2]) == ARGV[2] do
  first = first + 2
end
local left_out = {}
for i = 3, #ARGV do
  left_out[ARGV[i]] = true
end
local message = {}
for i = first, #fields, 2 do
  if not left_out[fields[i]] then
    message[#message + 1] = fields[i]
    message[#message + 1] = fields[i + 1]
  end
end
if #message == 0 then
  return {'empty'}
end
local id = redis.pcall('XADD', KEYS[2], '*', unpack(message))
if type(id) == 'table' then
  return id
end
redis.call('XDEL', KEYS[1], ARGV[1])
return {'replayed', id}
`);

/** Which dead letter is replayed, where to, and without what. */
export interface Replay {
  dead: string;
  /** In the same hash slot. */
  inbox: string;
  id: string;
  /** What the names of the leading fields begin with that were put before the message's own. */
  metaPrefix: string;
  /** The names of fields that are left out. */
  without: readonly string[];
}

/** Runs the script. Rejects with what refuses the XADD, such as OOM: the letter is where it was then. */
export async function replay(
  redis: Redis,
  { dead, inbox, id, metaPrefix, without }: Replay,
): Promise<ReplayOutcome> {
  return parseReplayOutcome(await REPLAY.run(redis, [dead, inbox], [id, metaPrefix, ...without]));
}
