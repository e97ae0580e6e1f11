"""Benchmarks and converters of public data. They may import everything, nothing imports them."""
