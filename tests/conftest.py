"""What every test shares: repeatable property tests, and no thread pools fighting for two cores."""

import os
import signal

from hypothesis import settings

# Before anything imports torch, numpy or onnxruntime; worker processes of the tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray would otherwise send usage reports.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and with them the commands they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no failure because a busy machine was slow.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
