/**
 * Lua for what subscriptions mean, to be put before a script's own lines: the rules of `protocol/wildcard.ts`.
 *
 * means(pattern, topic) whether a subscription, wildcard or not, means a topic
 */
export const WILDCARDS = `
local function segmentsOf(text)
  local segments = {}
  for segment in string.gmatch(text .. '.', '([^.]*)%.') do
    segments[#segments + 1] = segment
  end
  return segments
end
local function means(pattern, topic)
  if pattern == topic then
    return true
  end
  if not string.find(pattern, '[*>]') or string.sub(pattern, 1, 1) == '{' or string.sub(topic, 1, 1) == '{' then
    return false
  end
  local wanted, given = segmentsOf(pattern), segmentsOf(topic)
  local fixed = #wanted
  if wanted[fixed] == '>' then
    if #given < fixed then
      return false
    end
    fixed = fixed - 1
  elseif #given ~= fixed then
    return false
  end
  for i = 1, fixed do
    if wanted[i] ~= '*' and wanted[i] ~= given[i] then
      return false
    end
  end
  return true
end
`;
