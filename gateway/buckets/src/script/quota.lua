-- Quotas. model/quota.rs does the same in Rust, and a property test keeps the two together.
--
-- A quota is a hash: e when it was made (ms), b what others had taken then, s the sum of everything, and for each
-- gateway a field g:<id> with what it took in all, so that saying it twice counts once.

local REBUILD_MS = 1000

-- Reads a quota's arguments and the quota, makes it if it isn't there, and sets what the gateway took. Writes nothing.
local function counted()
  local quota = { name = name(), limit = number(), since = number(), spent = number(), least = number(),
    most = number(), sharers = number(), keep_until = number(), base = number() }
  local fields, counts = { 'e', 's', quota_field }, {}
  for i = 4, 3 + number() do
    argument = argument + 1
    fields[i], counts[i] = ARGV[argument], number()
  end
  local f = redis.call('HMGET', quota.name, unpack(fields))
  local made, own = whole(f[1]), whole(f[3], 0)
  quota.writes = {}
  if made then
    -- A clock that went back begins the wait anew.
    quota.made, quota.sum = math.min(made, now), whole(f[2], 0)
  else
    quota.made, quota.sum = now, quota.base
    quota.writes = { 'b', text(quota.base) }
  end
  for i = 4, #fields do
    -- Who is in it already says itself how much it took.
    if not f[i] then
      quota.sum = quota.sum + counts[i]
      if fields[i] == quota_field then
        own = counts[i]
      else
        quota.writes[#quota.writes + 1] = fields[i]
        quota.writes[#quota.writes + 1] = text(counts[i])
      end
    end
  end
  quota.own = quota.spent
  if quota.since == 1 then
    quota.own = math.max(0, own + quota.spent)
  end
  quota.sum = math.max(0, quota.sum + quota.own - own)
  return quota
end

-- What is granted of a quota: near its end only a part of what is left, so that no gateway sits on what another
-- could use.
local function slice(quota)
  local left = math.max(0, quota.limit - quota.sum)
  if now < quota.made + REBUILD_MS or quota.most == 0 or left < quota.least then
    return 0
  end
  local gateways = 2 * quota.sharers
  local share = (left - left % gateways) / gateways
  local amount = math.min(quota.most, left, math.max(quota.least, share))
  if amount < quota.least then
    return 0
  end
  return amount
end

local function take(quota, amount)
  quota.own = quota.own + amount
  quota.sum = quota.sum + amount
  local writes = quota.writes
  redis.call('HSET', quota.name, 'e', text(quota.made), 's', text(quota.sum), quota_field, text(quota.own),
    unpack(writes))
  redis.call('PEXPIREAT', quota.name, text(quota.keep_until))
  local rebuilding = now < quota.made + REBUILD_MS and 1 or 0
  return { amount, quota.sum, rebuilding }
end

local function quota()
  local counts = counted()
  return take(counts, slice(counts))
end
