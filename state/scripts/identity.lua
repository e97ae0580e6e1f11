-- Compare-and-set of many small writes, with marks that say how far the writer has come. Knows no policy.
--
-- KEYS[1]  hash    {PREFIX.i}sources  "topic/partition" -> packed [R, watermark]
-- KEYS[2+] string  the keys of all writes, in order: {PREFIX.i}NS:HASH (identifier) and {PREFIX.i}@CLUSTER (cluster)
--
-- ARGV[1]  number of marks; then for each: field of KEYS[1], value it must have ('' absent), value if every
--          write succeeds
-- then for each write the number of its keys; for each key what its value must begin with ('' the key must be
-- absent, '*' it may be anything) and its new value ('' deletes it, '=' leaves it).
--
-- Returns nil when a mark is not as expected: nothing was written. Else a string with one character a
-- write: 1 done, 0 a key was not as expected and nothing of that write was done.
local call, at = redis.call, 2
for _ = 1, tonumber(ARGV[1]) do
  if (call('HGET', KEYS[1], ARGV[at]) or '') ~= ARGV[at + 1] then
    return false
  end
  at = at + 3
end
local marks_end, key, done, all = at - 1, 2, {}, true
while at <= #ARGV do
  local last = at + 2 * tonumber(ARGV[at])
  local holds = true
  for i = at + 1, last, 2 do
    local name, expected = KEYS[key + (i - at - 1) / 2], ARGV[i]
    if expected == '' then
      holds = call('EXISTS', name) == 0
    elseif expected ~= '*' then
      holds = call('GETRANGE', name, 0, #expected - 1) == expected
    end
    if not holds then
      break
    end
  end
  for i = at + 2, last, 2 do
    if holds then
      if ARGV[i] == '' then
        call('DEL', KEYS[key])
      elseif ARGV[i] ~= '=' then
        call('SET', KEYS[key], ARGV[i])
      end
    end
    key = key + 1
  end
  at = last + 1
  all = all and holds
  done[#done + 1] = holds and '1' or '0'
end
if all then
  for field = 2, marks_end, 3 do
    call('HSET', KEYS[1], ARGV[field], ARGV[field + 2])
  end
end
return table.concat(done)
