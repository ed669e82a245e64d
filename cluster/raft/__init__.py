"""Raft's rules, pure: messages and time in, messages and positions out; no asyncio, no disk."""
