"""One running member: brings Raft's rules, the disk, the network and a state machine together."""
