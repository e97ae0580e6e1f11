"""Named places where a crash test lets the process die, or stand still.

Armed by the environment, else nearly free::

    TOUCHSTREAM_FAILPOINT=engage.after_redis:3,engage.before_clear:5,stitch.after_redis:1:stop
    TOUCHSTREAM_FAILPOINT_LOG=/tmp/hits

At the n-th hit (default 1) of a name in this process its name is appended to the log and the process
kills itself with SIGKILL, so nothing of Python or librdkafka gets to tidy up; ``stop``: it stops itself with
SIGSTOP and goes on from there at SIGCONT.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from functools import cache, partial
from typing import NamedTuple

from schemas.errors import ConfigError

ARMED, LOG = "TOUCHSTREAM_FAILPOINT", "TOUCHSTREAM_FAILPOINT_LOG"
#: A commit to Redis takes about twice as long (seconds).
ROUND_TRIP = 0.0005
_ITEM = re.compile(r"([^:]+)(?::0*([1-9][0-9]*)(:stop)?)?")


class Plan(NamedTuple):
    """What happens at the how manieth hit: the signal that the process sends itself."""

    hits: int = 1
    signal: signal.Signals = signal.SIGKILL


def failpoint(name: str) -> None:
    """Die or stop here if ``name`` is armed and this is its n-th hit."""
    left = _armed()
    if left and name in left:
        _hit(left, name)


def failpoint_within(name: str, seconds: float) -> None:
    """As `failpoint`, but a little later, while the caller goes on: in the middle of what it waits for."""
    left = _armed()
    if left and name in left:
        _hit(left, name, seconds)


def parse(text: str) -> dict[str, Plan]:
    """``"a:3,b:1:stop"`` as plans by name. Raises `ConfigError`."""
    plans: dict[str, Plan] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        found = _ITEM.fullmatch(item)
        if found is None:
            raise ConfigError([f"{ARMED}: {item!r} is not allowed; allowed: name, name:n, name:n:stop with n from 1"])
        name, count, stops = found.groups()
        plans[name] = Plan(int(count or 1), signal.SIGSTOP if stops else signal.SIGKILL)
    return plans


@cache
def _armed() -> dict[str, Plan]:
    """What is armed and how many hits are left. Read at the first hit: an import has no side effects."""
    return parse(os.environ.get(ARMED, ""))


def _hit(left: dict[str, Plan], name: str, seconds: float = 0.0) -> None:
    plan = left[name] = left[name]._replace(hits=left[name].hits - 1)
    if plan.hits == 0:
        _note(os.environ.get(LOG), name)
        end = partial(os.kill, os.getpid(), plan.signal)
        if seconds:
            threading.Timer(seconds, end).start()
        else:
            end()


def _note(path: str | None, name: str) -> None:
    """Append the name in one write and sync it: several processes share the log, and death follows."""
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{name}\n".encode())
        os.fsync(descriptor)
        os.close(descriptor)
