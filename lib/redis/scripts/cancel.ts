import type { Redis } from 'ioredis';
import type { EntryRange } from '../replies.js';
import { Script } from './script.js';

/** How much news a service's control stream keeps; an instance that missed some finds it elsewhere. */
export const CONTROL_MAX_LENGTH = 10_000;

/**
 * Cancels requests to one service: an entry that no instance has been given is deleted; of any other the instances
 * are told.
 *
 * KEYS[1] the service's inbox
 * KEYS[2] sorted set of cancelled requests, by deadline
 * KEYS[3] the service's control stream
 * ARGV[1] the service's consumer group
 * ARGV[2] cancellations whose deadline lies before this time are forgotten
 * ARGV[3] how many entries the control stream keeps, about
 * ARGV    for each range: the first and the last id of the entries among which its requests lie ('' for both: nobody
 *         knows), and the number of its requests; then for each of these its id and its deadline, or 0 where only an
 *         entry that was not delivered has to go: the deadline has passed, which ends the rest
 * Returns the number of entries that were deleted
 *
 * A script because an entry may be delivered at any moment: what is deleted here was given to nobody, and nobody is
 * told in vain. It goes by the group's last delivered id. What lies up to it is running, is settled, or was
 * acknowledged on receipt and runs all the same, so the instances are told of all of it; entries are read only where
 * some of the range was not delivered. A stream without the group has delivered nothing.
 * Deleting comes first: it also works when Redis is out of memory.
 */
const CANCEL = new Script(`
local function parts(id)
  local dash = string.find(id, '-', 1, true)
  return tonumber(string.sub(id, 1, dash - 1)), tonumber(string.sub(id, dash + 1))
end

local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then
  if not string.find(groups.err, 'no such key', 1, true) then
    return groups
  end
  groups = {}
end
local deliveredTime, deliveredSeq = 0, 0
for _, group in ipairs(groups) do
  local info = {}
  for i = 1, #group, 2 do
    info[group[i]] = group[i + 1]
  end
  if info['name'] == ARGV[1] then
    deliveredTime, deliveredSeq = parts(info['last-delivered-id'])
  end
end
local function isUndelivered(id)
  local time, seq = parts(id)
  return time > deliveredTime or (time == deliveredTime and seq > deliveredSeq)
end

local deleted, told = {}, {}
local at = 4
while at <= #ARGV do
  local first, last = ARGV[at], ARGV[at + 1]
  local undelivered = {}
  if last ~= '' and isUndelivered(last) then
    for _, entry in ipairs(redis.call('XRANGE', KEYS[1], first, last)) do
      if isUndelivered(entry[1]) then
        local fields = entry[2]
        for i = 1, #fields, 2 do
          if fields[i] == 'id' then
            undelivered[fields[i + 1]] = entry[1]
          end
        end
      end
    end
  end
  local behind = at + 3 + 2 * ARGV[at + 2]
  for i = at + 3, behind - 1, 2 do
    local id, deadline = ARGV[i], ARGV[i + 1]
    if undelivered[id] then
      deleted[#deleted + 1] = undelivered[id]
    elseif deadline ~= '0' then
      told[#told + 1] = deadline
      told[#told + 1] = id
    end
  end
  at = behind
end

if #deleted > 0 then
  redis.call('XDEL', KEYS[1], unpack(deleted))
end
if #told > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
  redis.call('ZADD', KEYS[2], unpack(told))
  for i = 2, #told, 2 do
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'cancel', told[i])
  end
end
return #deleted
`);

/** A request to be cancelled, as the script takes it. */
export interface CancelledRequest {
  id: string;
  /** Milliseconds by Redis' clock; 0 where it has passed. */
  deadline: number;
}

/** What the script works on. */
export interface CancelKeys {
  inbox: string;
  cancelled: string;
  control: string;
}

/**
 * Runs the script, with the requests by the range in which they lie; `undefined`: nobody knows.
 * @param forgetBefore in milliseconds by Redis' clock
 */
export async function cancel(
  redis: Redis,
  { inbox, cancelled, control }: CancelKeys,
  group: string,
  forgetBefore: number,
  requests: ReadonlyMap<EntryRange | undefined, readonly CancelledRequest[]>,
): Promise<void> {
  const args = [group, String(forgetBefore), String(CONTROL_MAX_LENGTH)];
  for (const [range, some] of requests) {
    args.push(range?.first ?? '', range?.last ?? '', String(some.length));
    for (const { id, deadline } of some) {
      args.push(id, String(deadline));
    }
  }
  await CANCEL.run(redis, [inbox, cancelled, control], args);
}
