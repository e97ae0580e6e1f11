-- Marks a shard as owned by this process and tells whose transaction may still be open, or lets go of it.
--
-- KEYS[1]  hash  {PREFIX.N}shard  owner: token of the owner; txn: its transactional id
--
-- ARGV[1] owner token   ARGV[2] transactional id, '' to let go
--
-- Returns the previous transactional id, or '' (letting go: only if still the owner).
local held = redis.call('HMGET', KEYS[1], 'owner', 'txn')
if ARGV[2] == '' then
  if held[1] == ARGV[1] then
    redis.call('HSET', KEYS[1], 'txn', '')
  end
  return ''
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'txn', ARGV[2])
return held[2] or ''
