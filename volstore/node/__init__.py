"""The node agent: dials the CSI plugins of its host and mounts what the registry wants mounted there.

It imports nothing of the servers' side. `steps` and `transitions` decide and know no file, socket or clock; `worker`
carries out one step, `agent` compares what is wanted (`work`) with what is there (`journal`, `mountinfo`).
"""
