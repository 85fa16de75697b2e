import type { Redis } from 'ioredis';
import { parseAdded, type AddedEntries } from '../replies.js';
import { Script } from './script.js';

/**
 * Adds several entries to one stream: one command for what a turn of the event loop produced, still one entry each.
 *
 * KEYS[1] stream
 * ARGV[1] the number of fields and values that all entries share, then these
 * ARGV    the number of fields that each entry has for itself, then their names
 * ARGV    for each entry, the values of these fields
 * Returns the stream's length afterwards, or -1 where the user may not ask for it; the first and the last entry's id
 *
 * A script because one command costs ioredis far less than many, and because the reader wakes only when it ends, and
 * so gets full batches. What is the same in all entries is sent once: every argument is work in ioredis and in Redis.
 * No other entry can come in between, so that first and last id say where all of them lie.
 * What refuses an XADD (OOM, READONLY, WRONGTYPE) refuses the first one, and so all of them.
 */
const ADD_MANY = new Script(`
local length = redis.pcall('XLEN', KEYS[1])
if type(length) ~= 'number' then
  length = nil
end
local shared = tonumber(ARGV[1])
local own = tonumber(ARGV[2 + shared])
local entry = {}
local first, last
for i = 1, shared do
  entry[i] = ARGV[1 + i]
end
for i = 1, own do
  entry[shared + 2 * i - 1] = ARGV[2 + shared + i]
end
for at = 3 + shared + own, #ARGV, own do
  for i = 1, own do
    entry[shared + 2 * i] = ARGV[at + i - 1]
  end
  last = redis.call('XADD', KEYS[1], '*', unpack(entry))
  first = first or last
  length = length and length + 1
end
return {length or -1, first, last}
`);

/**
 * Sees to it that Redis has the script before the first entries: while it is sent in full, later ones could overtake
 * them. Where that is not allowed, or fails, `addMany` does without.
 */
export async function loadAddMany(redis: Redis): Promise<void> {
  await ADD_MANY.load(redis);
}

/** Runs the script. */
export async function addMany(
  redis: Redis,
  stream: string,
  shared: readonly string[],
  ownFields: readonly string[],
  values: readonly (string | Buffer)[],
): Promise<AddedEntries> {
  const args = [String(shared.length), ...shared, String(ownFields.length), ...ownFields, ...values];
  return parseAdded(await ADD_MANY.run(redis, [stream], args));
}
