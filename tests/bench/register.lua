-- wrk: PUT a register of a new volume each time. Arguments: a prefix that makes the IDs of this run its own, and the
-- text that the body is filled up with, so that the command has the size that the peer's values have.
local prefix, filler = "", ""
-- As Nomad's Go client marshals it: tests/bench/bodies.py has the same for the other benches, and a test compares them.
local before_id, before_name, before_filler = '{"Volumes":[{"ID":"', '","Name":"', '","ExternalID":"'
local after_filler = '","Namespace":"","RequestedTopologies":{"Required":[{"Segments":{"rack":"R1"}}],"Preferred":null},' ..
  '"Topologies":null,"AccessMode":"","AttachmentMode":"","MountOptions":null,"Secrets":null,"Parameters":null,' ..
  '"Context":null,"Capacity":0,"RequestedCapacityMin":10737418240,"RequestedCapacityMax":21474836480,' ..
  '"RequestedCapabilities":[{"AccessMode":"single-node-writer","AttachmentMode":"file-system"}],"CloneID":"",' ..
  '"SnapshotID":"","ReadAllocs":null,"WriteAllocs":null,"Allocations":null,"Schedulable":false,' ..
  '"PluginID":"plugin-id1","Provider":"","ProviderVersion":"","ControllerRequired":false,"ControllersHealthy":0,' ..
  '"ControllersExpected":0,"NodesHealthy":0,"NodesExpected":0,"ResourceExhausted":"0001-01-01T00:00:00Z",' ..
  '"CreateIndex":0,"ModifyIndex":0,"CreateTime":0,"ModifyTime":0}],"PolicyOverride":false,"Region":"",' ..
  '"Namespace":"","SecretID":""}\n'
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
  local body = before_id .. id .. before_name .. id .. before_filler .. filler .. after_filler
  return wrk.format("PUT", "/v1/volume/csi/" .. id, { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency, _)
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"bad":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
