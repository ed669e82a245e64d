"""`volstore plugin dir`: a small, real CSI plugin for one host, or for a directory that all hosts share.

A volume is a directory, shown by a bind mount, or a file, shown as a loop device. It is a process of its own and knows
nothing of registry and agent.
"""
