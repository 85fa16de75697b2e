import type { Redis } from 'ioredis';
import { Script } from './script.js';

/**
 * Adds several entries to one stream: one command for what a turn of the event loop produced, still one entry each.
 *
 * KEYS[1] stream
 * ARGV    for each entry: the number of its fields and values, then these
 * Returns the stream's length afterwards
 *
 * A script because one command costs ioredis far less than many, and because the reader wakes only when it ends, and
 * so gets full batches. What refuses an XADD (OOM, READONLY, WRONGTYPE) refuses the first one, and so all of them.
 */
const ADD_MANY = new Script(`
local i = 1
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, i + 1, i + n))
  i = i + n + 1
end
return redis.call('XLEN', KEYS[1])
`);

/** Runs the script; resolves to the stream's length. */
export function addMany(redis: Redis, stream: string, args: (string | Buffer)[]): Promise<number> {
  return ADD_MANY.run(redis, [stream], args) as Promise<number>;
}
