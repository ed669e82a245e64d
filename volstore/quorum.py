"""How many voters decide, and how many may fail."""


def majority(voters: int) -> int:
    """The votes that a decision needs (Raft §5.2)."""
    return voters // 2 + 1


def may_fail(voters: int) -> int:
    """How many of `voters` may fail while a majority is left."""
    return (voters - 1) // 2
