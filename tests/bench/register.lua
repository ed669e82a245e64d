-- wrk: PUT a register of a new volume each time. Arguments: a prefix that makes the IDs of this run its own, and the
-- text that the body is filled up with, so that the command has the size that the peer's values have.
local prefix, filler = "", ""
local thread_count = 0

function setup(thread)
  thread_count = thread_count + 1
  thread:set("thread_number", thread_count)
end

function init(args)
  prefix = args[1] or "w"
  filler = args[2] or ""
  count = 0
end

function request()
  count = count + 1
  local id = prefix .. "-" .. thread_number .. "-" .. count
  local body = '{"Volumes":[{"ID":"' .. id .. '","Name":"' .. id .. '","ExternalID":"' .. filler ..
    '","PluginID":"plugin-id1","AccessMode":"single-node-writer","AttachmentMode":"file-system"}]}'
  return wrk.format("PUT", "/v1/volume/csi/" .. id, { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency, _)
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"bad":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
