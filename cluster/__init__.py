"""A replicated log on pysyncobj that keeps what it acknowledged; knows bytes, not volumes."""
