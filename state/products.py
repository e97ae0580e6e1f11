"""A product as every shard knows it while plays wait for what has become of it."""

from __future__ import annotations

import msgspec

from schemas.stitched import Occasion


class Product(msgspec.Struct, array_like=True, frozen=True):
    """``price`` in minor units, 0 if not known; ``stock`` -1 if not known; ``plays``: those that it has woken and that
    still hold."""

    price: int
    stock: int
    plays: dict[str, Occasion]


_products = msgspec.msgpack.Decoder(Product)

unpack_product = _products.decode
