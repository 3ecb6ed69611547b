-- The server's clock. It is the only one that decides over a bucket.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
