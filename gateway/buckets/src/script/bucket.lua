-- Token buckets. model/bucket.rs does the same in Rust, and a property test keeps the two together.
--
-- A bucket is a hash: m level, t instant of the last credit (ms), b birth (us), h what gateways hold, s instant at
-- which some holding may have ended (ms), and for each start of a gateway that holds something a field g:<holder> with
-- how much and until when (ms). Tokens are thousandths. Every number stays below 2^53, so that doubles hold it exactly.

local LEASE_MS = 1000
local MARGIN_MS = 1000

local now = (now_us - now_us % 1000) / 1000
local quota_field, own_field = ARGV[1], ARGV[2]

-- The next argument and the next key.
local argument, key = 2, 0

local function number()
  argument = argument + 1
  return tonumber(ARGV[argument])
end

local function name()
  key = key + 1
  return KEYS[key]
end

-- The whole number that a field holds, or what stands for a missing or garbled one.
local function whole(field, otherwise)
  local n = tonumber(field)
  if n and n % 1 == 0 and n > -9007199254740992 and n < 9007199254740992 then
    return n
  end
  return otherwise
end

-- How much a field g:<holder> holds, and until when.
local function holding_of(field)
  if not field then
    return 0, 0
  end
  local amount, ends = string.match(field, '^(%d+) (%d+)$')
  return whole(amount, 0), whole(ends, 0)
end

-- As Lua would not write it by itself: with every digit.
local function text(n)
  return string.format('%.0f', n)
end

-- The level that this much held leaves a bucket at. What was spent elsewhere is owed down to one burst and forgiven
-- beyond that; a holding may still be spent, so while more than two bursts are held the level is below that floor.
local function within(level, held, burst)
  return math.min(burst - held, math.max(-burst, level))
end

-- Time since the last credit, at most up to what is free. A clock that went back (another server after a failover)
-- brings nothing.
local function credited(level, last, held, rate, burst)
  local elapsed = math.max(0, now - last)
  return within(level + elapsed * rate, held, burst)
end

-- Lets go of what gateways held too long: it is lost to the bucket. One that is recorded as held longer than a lease
-- lasts was so by another server's clock.
local function sweep(bucket)
  local fields = redis.call('HGETALL', bucket.name)
  local held, first = bucket.own, now + LEASE_MS
  local ended = {}
  for i = 1, #fields, 2 do
    local field = fields[i]
    if string.sub(field, 1, 2) == 'g:' and field ~= own_field then
      local amount, ends = holding_of(fields[i + 1])
      if ends <= now then
        ended[#ended + 1] = field
      else
        if ends > now + LEASE_MS then
          ends = now + LEASE_MS
          redis.call('HSET', bucket.name, field, text(amount) .. ' ' .. text(ends))
        end
        held = held + amount
        first = math.min(first, ends)
      end
    end
  end
  for i = 1, #ended, 100 do
    redis.call('HDEL', bucket.name, unpack(ended, i, math.min(i + 99, #ended)))
  end
  bucket.held, bucket.sweep = held, first
end

-- Reads a lease's arguments and its bucket, credits the time since, and settles what the gateway says of its own.
-- Writes nothing.
local function settled()
  local ask = { rate = number(), burst = number(), holding = number(), returning = number(), debt = number(),
    least = number(), most = number(), born = number(), level = number() }
  local bucket = { name = name(), ask = ask, own = ask.holding }
  local f = redis.call('HMGET', bucket.name, 'm', 't', 'b', 'h', 's', own_field)
  local level, held, own = whole(f[1]), 0, 0
  if level then
    bucket.born, bucket.sweep, bucket.had_own = whole(f[3], now_us), whole(f[5], 0), f[6]
    own = holding_of(f[6])
    held = math.max(own, whole(f[4], 0))
    -- The cap is what was held until now, not what is held from now on: what was spent before this instant must not
    -- have made room for a credit before it.
    level = credited(level, whole(f[2], now), held, ask.rate, ask.burst)
  else
    bucket.born, bucket.sweep = now_us, 0
    level = ask.burst
  end
  if ask.born >= 0 and ask.born ~= bucket.born then
    -- It began anew since the gateway last heard of it. What the gateway holds was taken from the earlier one.
    level = math.min(level, ask.level)
  elseif ask.holding > own then
    -- Its holding was let go of already: it is taken once more, so that it isn't spent beside the bucket.
    level = level - (ask.holding - own)
  end
  level = level + math.min(ask.returning, math.max(0, own - ask.holding)) - ask.debt
  bucket.held = held - own + ask.holding
  bucket.level = within(level, bucket.held, ask.burst)
  return bucket
end

-- What is granted: whole tokens, not fewer than it asks for at least.
local function grant(level, least, most)
  local amount = math.min(level, most)
  amount = amount - amount % 1000
  if amount <= 0 or amount < least then
    return 0
  end
  return amount
end

local function store(bucket)
  local ask = bucket.ask
  if bucket.held > bucket.own and now >= bucket.sweep then
    sweep(bucket)
  end
  local first = now + LEASE_MS
  if bucket.held > bucket.own then
    first = math.min(first, bucket.sweep)
  end
  local fields = { 'm', text(bucket.level), 't', text(now), 'b', text(bucket.born), 'h', text(bucket.held),
    's', text(first) }
  if bucket.own > 0 then
    fields[11], fields[12] = own_field, text(bucket.own) .. ' ' .. text(now + LEASE_MS)
  elseif bucket.had_own then
    redis.call('HDEL', bucket.name, own_field)
  end
  redis.call('HSET', bucket.name, unpack(fields))
  -- A missing bucket is a full one. This one is, once every holding has ended and time has filled it after that; below
  -- the floor it is only while the holdings last.
  local until_full = math.ceil(math.min(2 * ask.burst, ask.burst - bucket.level) / ask.rate)
  redis.call('PEXPIRE', bucket.name, text(LEASE_MS + until_full + MARGIN_MS))
end

local function lease()
  local bucket = settled()
  local granted = grant(bucket.level, bucket.ask.least, bucket.ask.most)
  bucket.level = bucket.level - granted
  bucket.held = bucket.held + granted
  bucket.own = bucket.own + granted
  store(bucket)
  return { granted, bucket.level, bucket.held - bucket.own, bucket.born }
end

local function refund()
  local amount = number()
  local buckets = number()
  for _ = 1, buckets do
    local rate, burst, of = number(), number(), name()
    local f = redis.call('HMGET', of, 'm', 't', 'h')
    local level = whole(f[1])
    -- One that isn't there is full.
    if level then
      local held = whole(f[3], 0)
      level = credited(level, whole(f[2], now), held, rate, burst)
      redis.call('HSET', of, 'm', text(math.min(burst - held, level + amount)), 't', text(now))
    end
  end
  return {}
end

-- What is in a bucket now and what gateways hold of it; nothing if it isn't there. Writes nothing.
local function read()
  local rate, burst = number(), number()
  local fields = redis.call('HGETALL', name())
  local of, held = {}, 0
  for i = 1, #fields, 2 do
    of[fields[i]] = fields[i + 1]
    if string.sub(fields[i], 1, 2) == 'g:' then
      local amount, ends = holding_of(fields[i + 1])
      if ends > now then
        held = held + amount
      end
    end
  end
  local level = whole(of.m)
  if not level then
    return {}
  end
  return { credited(level, whole(of.t, now), whole(of.h, 0), rate, burst), held }
end
