"""A deterministic simulation: the flows' own shells and cores over a log and a store in memory.

::

    python -m tests.simulation --seeds 1000

`log` is Kafka and `clients` what librdkafka makes of it, `store` is Redis; everything above them is the product.
`world` lets processes take turns, one effect at a time, and does the harm that a `plans` says; the oracle of the tests
against real servers judges.
"""
