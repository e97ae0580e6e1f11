"""The simulated retailer: a seeded shop with known truth. ``python -m flows.retailer --help``, docs/retailer.md.

::

    retailer = Retailer(seed=7, customers=1_000)
    truth = list(retailer.truth())                  # who is who, in NDJSON lines
    for events in retailer.batches(500):            # touchpoints, as schemas.touchpoint reads them
        ...
"""

from flows.retailer.faults import JUNK
from flows.retailer.population import KIOSKS
from flows.retailer.rates import Rates
from flows.retailer.simulation import Chunk, Retailer
from flows.retailer.write import FileSink, KafkaSink, Summary, write_file, write_kafka

__all__ = [
    "JUNK",
    "KIOSKS",
    "Chunk",
    "FileSink",
    "KafkaSink",
    "Rates",
    "Retailer",
    "Summary",
    "write_file",
    "write_kafka",
]
