"""Churn, learned online: how well, beside which rivals, at what cost. See `benchmarks.churn.__main__`."""
