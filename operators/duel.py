"""Whether a challenger is better than the champion: the rule by which one takes the other's place unasked.

Both predict the same examples before they learn them. Over so many examples (``churn.promote_examples``) the log loss
of the challenger must be lower by more than ``churn.promote_margin``, and surely so: that is where the interval of
99 % of the mean difference begins. It is computed from the means of blocks of `BLOCK` examples, as those that stand
together are not independent: a customer comes back every week, and what is in the air touches all. And it is asked
once for so many examples, then all begins anew; asked after each, chance would win in the end.
"""

from __future__ import annotations

from math import inf, sqrt

import msgspec

#: Examples whose means are looked at together.
BLOCK = 64
#: Normal quantile of an interval of 99 %.
_SURE = 2.576


class Duel(msgspec.Struct, array_like=True):
    """How much lower a challenger's log loss is than the champion's: the sum over the block that is being filled; of
    the full ones how many, mean and sum of squares."""

    filling: float = 0.0
    blocks: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def close(self) -> None:
        """The block is full."""
        value, self.filling = self.filling / BLOCK, 0.0
        self.blocks += 1
        off = value - self.mean
        self.mean += off / self.blocks
        self.squares += off * (value - self.mean)

    def interval(self) -> tuple[float, float]:
        """Of 99 %, of how much lower it is; without bounds before there are two blocks."""
        if self.blocks < 2:
            return -inf, inf
        half = _SURE * sqrt(self.squares / (self.blocks - 1) / self.blocks)
        return self.mean - half, self.mean + half
