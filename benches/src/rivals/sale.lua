-- One purchase, atomically: Redis runs nothing else until the script has ended.
-- KEYS: the sale (hash), the buyers' units (hash), the orders (stream)
-- ARGV: order id, user id, buyer, quantity
-- Returns {outcome, number, milliseconds since 1970}; the number is the sequence, the units left, or the units bought.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sale = redis.call('HMGET', KEYS[1], 'stock', 'limit', 'startMs', 'endMs')
if not sale[1] then return {'unknown', 0, now} end
if now < tonumber(sale[3]) or now >= tonumber(sale[4]) then return {'closed', 0, now} end
local quantity = tonumber(ARGV[4])
local bought = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0')
if bought + quantity > tonumber(sale[2]) then return {'limit', bought, now} end
if tonumber(sale[1]) < quantity then return {'sold_out', tonumber(sale[1]), now} end
redis.call('HINCRBY', KEYS[1], 'stock', -quantity)
local sequence = redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('HINCRBY', KEYS[2], ARGV[2], quantity)
redis.call('XADD', KEYS[3], '*', 'id', ARGV[1], 'user', ARGV[2], 'buyer', ARGV[3], 'quantity', quantity,
    'sequence', sequence, 'at', now)
return {'bought', sequence, now}
