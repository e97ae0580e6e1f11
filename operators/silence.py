"""Who is anonymous and silent for long is forgotten: engage notices, stitch decides, and the change comes back.

Engage alone knows when somebody was last heard of, stitch alone what else rests on the identifiers. So a timer of the
profile sends a command to stitch, which forgets whoever is still anonymous, silent and bound to nobody, and tells so in
the log. What is not answered is asked again after as long a silence.
"""

from __future__ import annotations

from operators import fold
from operators.plays import DAY
from operators.shard import Shard
from schemas import commands
from schemas.commands import Command
from schemas.config import Config
from schemas.topics import COMMANDS, topic_name
from state.profile import Profile

#: The kind of timer.
TIMER = "silence"
#: When somebody was last heard of is known to the second (ms).
_PRECISION = 1_000


class Silence:
    """The rule of one deployment."""

    def __init__(self, config: Config) -> None:
        self._ms = config.identity.anonymous_days * DAY
        self._namespaces = frozenset(config.identity.anonymous)
        self._commands = topic_name(config, COMMANDS)

    def follow(self, shard: Shard, profile: Profile) -> None:
        """Watch whoever is anonymous and not watched yet."""
        if self._ms and self._anonymous(profile) and all([timer.kind != TIMER for timer in profile.timers]):
            fold.set_timer(profile, TIMER, "", (profile.touched or shard.state.at) + _PRECISION + self._ms)

    def look(self, shard: Shard, profile: Profile, watermark: int) -> None:
        """Ask stitch to forget a customer, if it is anonymous and has been silent for so long."""
        if not self._anonymous(profile):
            return
        since, heard = watermark - self._ms, profile.touched + _PRECISION
        if heard <= since:
            command = Command(id=f"expire/{profile.customer}/{since}", op="expire", ids=profile.ids, time=since)
            shard.emit(self._commands, -1, command.id, commands.encode(command))
            heard = watermark
        fold.set_timer(profile, TIMER, "", heard + self._ms)

    def _anonymous(self, profile: Profile) -> bool:
        """Whether nothing but identifiers of anonymous namespaces is known of somebody."""
        namespaces = self._namespaces
        return bool(profile.ids) and all([token.partition(":")[0] in namespaces for token in profile.ids])
