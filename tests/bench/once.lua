-- wrk: send the same request again and again. Arguments: method, path, body.
function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  same = wrk.format(args[1], args[2], args[3] and headers or nil, args[3])
end

function request()
  return same
end

function done(summary, latency, _)
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"bad":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
