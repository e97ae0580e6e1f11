-- Compare-and-set of many small writes, with marks that say how far the writer has come. Knows no policy.
--
-- KEYS[1]  hash    {PREFIX.i}sources  "topic/partition" -> packed [R, watermark]
-- KEYS[2+] string  for each write its condition keys, then the keys it sets, then the keys it deletes:
--                  {PREFIX.i}NS:HASH (identifier) and {PREFIX.i}@CLUSTER (cluster)
--
-- ARGV[1]  number of marks; then for each: field of KEYS[1], value it must have ('' absent), value if every
--          write succeeds
-- then for each write: number of conditions, of sets, of deletes; for each condition the prefix
-- the value must have ('' the key must be absent); for each set the value.
--
-- Returns nil when a mark is not as expected: nothing was written. Else a string with one character a
-- write: 1 done, 0 a condition failed and nothing of that write was done.
local at = 2
for _ = 1, tonumber(ARGV[1]) do
  if (redis.call('HGET', KEYS[1], ARGV[at]) or '') ~= ARGV[at + 1] then
    return false
  end
  at = at + 3
end
local marks_end, key, done, all = at - 1, 2, {}, true
while at <= #ARGV do
  local conditions, sets, deletes = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  local holds = true
  for i = 0, conditions - 1 do
    local expected = ARGV[at + i]
    if expected == '' then
      holds = redis.call('EXISTS', KEYS[key + i]) == 0
    else
      holds = redis.call('GETRANGE', KEYS[key + i], 0, #expected - 1) == expected
    end
    if not holds then
      break
    end
  end
  key, at = key + conditions, at + conditions
  if holds then
    for i = 0, sets - 1 do
      redis.call('SET', KEYS[key + i], ARGV[at + i])
    end
    for i = sets, sets + deletes - 1 do
      redis.call('DEL', KEYS[key + i])
    end
  end
  key, at = key + sets + deletes, at + sets
  all = all and holds
  done[#done + 1] = holds and '1' or '0'
end
if all then
  for field = 2, marks_end, 3 do
    redis.call('HSET', KEYS[1], ARGV[field], ARGV[field + 2])
  end
end
return table.concat(done)
