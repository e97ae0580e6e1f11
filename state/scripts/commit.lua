-- One commit of a shard: state, timers, outbox, counters and the next input offset, or nothing at all.
--
-- KEYS[1]  hash    {PREFIX.N}shard   r, owner, txn, state, committed
-- KEYS[2]  zset    {PREFIX.N}timers  customer -> earliest due time (ms)
-- KEYS[3]  string  {PREFIX.N}out     packed outbox of the last commit that had one
-- KEYS[4]  hash    {PREFIX.N}count   account: applied, duplicates, erased, ...
-- then      zset    {PREFIX.N}i:SKU  customer -> time of interest (ms), one key for each product
-- then      string  entities: packed profiles, open examples, parts, products
--
-- ARGV[1] expected r   ARGV[2] owner token   ARGV[3] new r   ARGV[4] shard state   ARGV[5] wall clock (ms)
-- ARGV[6] outbox, '' deletes it   ARGV[7] number of timer arguments   ARGV[8] number of counter arguments
-- ARGV[9] number of products
-- then the timers (due, customer; due '' removes), the counters (name, increment); if there are products: the time up
-- to which interest is forgotten, the most customers of a product, the life of its key (ms), and for each product the
-- number of its arguments and these (time, customer); then one value for each entity key, '' deletes.
--
-- Returns 1, or 0 when offset or owner are not as expected: then nothing was written.
local held = redis.call('HMGET', KEYS[1], 'r', 'owner')
if (held[1] or '') ~= ARGV[1] or held[2] ~= ARGV[2] then
  return 0
end
local at = 10
local stop = at + tonumber(ARGV[7])
while at < stop do
  if ARGV[at] == '' then
    redis.call('ZREM', KEYS[2], ARGV[at + 1])
  else
    redis.call('ZADD', KEYS[2], ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
stop = at + tonumber(ARGV[8])
while at < stop do
  redis.call('HINCRBY', KEYS[4], ARGV[at], ARGV[at + 1])
  at = at + 2
end
local entities = 5 + tonumber(ARGV[9])
if entities > 5 then
  local forgotten, most, life = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  at = at + 3
  for i = 5, entities - 1 do
    stop = at + tonumber(ARGV[at])
    at = at + 1
    while at <= stop do
      local last = math.min(at + 999, stop)
      redis.call('ZADD', KEYS[i], 'GT', unpack(ARGV, at, last))
      at = last + 1
    end
    redis.call('PEXPIRE', KEYS[i], life)
    -- What is too old or too much is overlooked when it is read, so that it may go at any time: now and then.
    if (i + ARGV[3]) % 8 == 0 then
      redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', forgotten)
      if redis.call('ZCARD', KEYS[i]) > most then
        redis.call('ZREMRANGEBYRANK', KEYS[i], 0, -most - 1)
      end
    end
  end
end
local pairs_, n = {}, 0
for i = entities, #KEYS do
  if ARGV[at] == '' then
    redis.call('DEL', KEYS[i])
  else
    pairs_[n + 1], pairs_[n + 2] = KEYS[i], ARGV[at]
    n = n + 2
    if n == 1000 then
      redis.call('MSET', unpack(pairs_, 1, n))
      n = 0
    end
  end
  at = at + 1
end
if n > 0 then
  redis.call('MSET', unpack(pairs_, 1, n))
end
if ARGV[6] == '' then
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[6])
end
redis.call('HSET', KEYS[1], 'r', ARGV[3], 'state', ARGV[4], 'committed', ARGV[5])
return 1
