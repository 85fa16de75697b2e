/**
 * Lua for removing a topic, to be put before a script's own lines.
 *
 * removeTopic(topic, floors) removes the stream with its groups, and what is recorded of them
 */
export const REMOVE_TOPIC = `
local function removeTopic(topic, floors)
  if redis.call('EXISTS', topic) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', topic)) do
      redis.call('HDEL', floors, topic .. ' ' .. group[2])
    end
  end
  redis.call('UNLINK', topic)
  redis.call('HDEL', floors, 'cut ' .. topic)
end
`;
