"""The secrets of a collection, and the limit on guessing them.

A token opens a job once; the session key, which the phone makes up itself, speaks for it from then on. Only hashes are
kept. A secret has 192 random bits, so a plain hash is enough: nobody can try them all.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

SECRET_PATTERN = r"^[A-Za-z0-9_-]{32}$"

MAX_FAILURES = 10
FAILURE_WINDOW_S = 60.0
_MAX_ADDRESSES = 1024


def new_secret() -> str:
    """192 random bits as 32 characters that need no escape in a URL."""
    return secrets.token_urlsafe(24)


def hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, secret_hash: str) -> bool:
    """Whether the secret has this hash, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(hash_secret(secret), secret_hash)


class FailureLimit:
    """Counts wrong secrets by address for one minute, in memory only. Safe to use from many threads."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def add_failure(self, address: str) -> None:
        with self._lock:
            failures = self._failures.setdefault(address, deque(maxlen=MAX_FAILURES))
            self._failures.move_to_end(address)
            failures.append(self._clock_s())
            while len(self._failures) > _MAX_ADDRESSES:
                self._failures.popitem(last=False)

    def is_over(self, address: str) -> bool:
        """Whether the address failed ten times within the last minute."""
        with self._lock:
            failures = self._failures.get(address, deque())
            while failures and failures[0] < self._clock_s() - FAILURE_WINDOW_S:
                failures.popleft()
            return len(failures) >= MAX_FAILURES
