"""How fast the read API answers from Redis: ``python -m benchmarks.readapi [--requests N] [--clients N]``.

A Valkey and the web service, each a process of its own, customers of the simulated profile size, and clients on
keep-alive connections that ask for customers at random, one after the other. Kafka is not asked.
"""

from __future__ import annotations
