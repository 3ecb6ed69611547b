-- One question after the other: each is its kind, how many keys and arguments it has, and these.

-- One call: from every one of its buckets and its quota, or from none.
local function charge()
  local buckets, counts = {}, nil
  local number_of_buckets, has_quota = number(), number()
  for i = 1, number_of_buckets do
    buckets[i] = settled()
  end
  if has_quota == 1 then
    counts = counted()
  end
  local charged, granted = 1, 0
  for _, bucket in ipairs(buckets) do
    if bucket.level < bucket.ask.most then
      charged = 0
    end
  end
  if counts then
    granted = slice(counts)
    if granted < counts.most then
      charged = 0
    end
  end
  local answer = { charged }
  for _, bucket in ipairs(buckets) do
    bucket.level = bucket.level - charged * bucket.ask.most
    store(bucket)
    answer[#answer + 1] = bucket.level
    answer[#answer + 1] = bucket.held
    answer[#answer + 1] = bucket.born
  end
  if counts then
    for _, value in ipairs(take(counts, charged * granted)) do
      answer[#answer + 1] = value
    end
  end
  return answer
end

local kinds = { lease, quota, charge, refund, read }
local answers = {}
while argument < #ARGV do
  local kind = kinds[number()]
  local keys, arguments = number(), number()
  local next_key, next_argument = key + keys, argument + arguments
  local done, answer = pcall(kind)
  if not done then
    local reason = type(answer) == 'table' and answer.err or tostring(answer)
    -- Somebody else's key under our name is trouble for one question only, and nothing of it was written. Whatever
    -- else a server refuses (read-only, out of memory), it refuses before anything is written. Its word for it stands
    -- first or after a line's number, as versions differ.
    if not string.find(reason, 'WRONGTYPE', 1, true) then
      return redis.error_reply(string.match(reason, '%u%u+ .*') or ('ERR ' .. reason))
    end
    answer = 'WRONGTYPE'
  end
  answers[#answers + 1] = answer
  key, argument = next_key, next_argument
end
return answers
