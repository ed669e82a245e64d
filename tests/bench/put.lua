-- wrk: PUT a new key of 400 bytes through etcd's JSON gateway each time. Argument: a prefix for this run's keys (base64).
local prefix, value = "", ""
local thread_count = 0
local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

function setup(thread)
  thread_count = thread_count + 1
  thread:set("thread_number", thread_count)
end

-- A number as eight base64 digits: six bytes of key, different for every request.
local function key(n)
  local text = ""
  for _ = 1, 8 do
    local digit = n % 64
    text = text .. digits:sub(digit + 1, digit + 1)
    n = (n - digit) / 64
  end
  return text
end

function init(args)
  prefix = args[1] or "AAAA"
  value = string.rep("dm9s", 133)
  count = 0
end

function request()
  count = count + 1
  local body = '{"key":"' .. prefix .. key(thread_number * 2 ^ 40 + count) .. '","value":"' .. value .. '"}'
  return wrk.format("POST", "/v3/kv/put", { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency, _)
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"bad":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
