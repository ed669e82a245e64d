"""For all tests."""

import signal

# A shell without job control starts what it puts in the background with interrupts ignored, and every process that a
# test starts would inherit that: those that are interrupted here would go on for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
