/**
 * Lua for comparing and stepping entry ids, to be put before a script's own lines. Both parts of an id go up to
 * 2^64 - 1, which a Lua number cannot hold, so they are compared and counted as the decimal digits they are.
 *
 * isBefore(a, b) whether id a comes before id b
 * idBefore(id)   the id right before; that of 0-0 is itself
 * idAfter(id)    the id right after; that of the highest is itself
 */
export const ENTRY_IDS = `
local HIGHEST = '18446744073709551615'
local function partsOf(id)
  return string.match(id, '^(%d+)-(%d+)$')
end
local function isLess(a, b)
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end
local function isBefore(a, b)
  local time, seq = partsOf(a)
  local otherTime, otherSeq = partsOf(b)
  if time == otherTime then
    return isLess(seq, otherSeq)
  end
  return isLess(time, otherTime)
end
local function minusOne(digits)
  local head, zeros = string.match(digits, '^(%d-)(0*)$')
  local less = string.sub(head, 1, -2) .. (string.byte(head, -1) - 49) .. string.rep('9', #zeros)
  return (string.gsub(less, '^0+(%d)', '%1'))
end
local function plusOne(digits)
  local head, nines = string.match(digits, '^(%d-)(9*)$')
  if head == '' then
    head = '0'
  end
  return string.sub(head, 1, -2) .. (string.byte(head, -1) - 47) .. string.rep('0', #nines)
end
local function idBefore(id)
  local time, seq = partsOf(id)
  if seq ~= '0' then
    return time .. '-' .. minusOne(seq)
  end
  if time == '0' then
    return id
  end
  return minusOne(time) .. '-' .. HIGHEST
end
local function idAfter(id)
  local time, seq = partsOf(id)
  if seq ~= HIGHEST then
    return time .. '-' .. plusOne(seq)
  end
  if time == HIGHEST then
    return id
  end
  return plusOne(time) .. '-0'
end
`;
