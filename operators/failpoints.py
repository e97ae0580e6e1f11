"""Named places where a crash test lets the process die.

Armed by the environment, else nearly free::

    TOUCHSTREAM_FAILPOINT=engage.after_redis:3,engage.before_clear:5
    TOUCHSTREAM_FAILPOINT_LOG=/tmp/hits

At the n-th hit (default 1) of a name in this process its name is appended to the log and the process
kills itself with SIGKILL, so nothing of Python or librdkafka gets to tidy up.
"""

from __future__ import annotations

import os
import signal
from functools import cache

from schemas.errors import ConfigError

ARMED, LOG = "TOUCHSTREAM_FAILPOINT", "TOUCHSTREAM_FAILPOINT_LOG"


def failpoint(name: str) -> None:
    """Die here if ``name`` is armed and this is its n-th hit."""
    left = _armed()
    if left and name in left:
        _hit(left, name)


def parse(text: str) -> dict[str, int]:
    """``"a:3,b"`` as ``{"a": 3, "b": 1}``. Raises `ConfigError`."""
    plan: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, count = item.partition(":")
        if not name or (count and not (count.isdecimal() and int(count) > 0)):
            raise ConfigError([f"{ARMED}: {item!r} is not allowed; allowed: name or name:n with n from 1"])
        plan[name] = int(count or 1)
    return plan


@cache
def _armed() -> dict[str, int]:
    """What is armed and how many hits are left. Read at the first hit: an import has no side effects."""
    return parse(os.environ.get(ARMED, ""))


def _hit(left: dict[str, int], name: str) -> None:
    left[name] -= 1
    if left[name] == 0:
        _note(os.environ.get(LOG), name)
        os.kill(os.getpid(), signal.SIGKILL)


def _note(path: str | None, name: str) -> None:
    """Append the name in one write and sync it: several processes share the log, and death follows."""
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{name}\n".encode())
        os.fsync(descriptor)
        os.close(descriptor)
