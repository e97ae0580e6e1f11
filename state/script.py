"""Lua scripts of ``state/scripts``, by which Redis does several things as one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

_FOLDER = Path(__file__).parent / "scripts"


class Script:
    """One script. It is named by its hash, and sent whole only where Redis has forgotten it."""

    def __init__(self, name: str) -> None:
        self.text = (_FOLDER / f"{name}.lua").read_text()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Any, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """The reply to one call. Raises `redis.RedisError`."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.text, len(keys), *keys, *args)

    def run_all(self, client: Any, calls: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> list[Any]:
        """The replies to calls (keys, arguments), in one round trip. Raises `redis.RedisError`.

        If Redis does not know the script all are made once more, also those from before it forgot it.
        """
        try:
            return self._send(client, "evalsha", self.sha, calls)
        except NoScriptError:
            return self._send(client, "eval", self.text, calls)

    @staticmethod
    def _send(
        client: Any, command: str, script: str, calls: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    ) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for keys, args in calls:
            getattr(pipe, command)(script, len(keys), *keys, *args)
        replies: list[Any] = pipe.execute()
        return replies
