"""What the shop sells: products with their bodies rendered, in categories; prices and stock move."""

from __future__ import annotations

from random import Random

from flows.retailer.encode import body, to_json

CATEGORIES = ("coffee", "tea", "snacks", "baby", "pet", "skin-care", "hair", "household", "vitamins", "shoes")
#: Products of a category: at least so many, and one for so many customers. A larger shop sells more, and its restocks
#: do not each concern everybody.
LEAST_EACH, CUSTOMERS_EACH = 40, 100


class Product:
    """One product. ``json`` as it stands in bodies; ``view``, ``wish`` and ``unwish`` the whole bodies of a look at it
    and of its way to and from a wish list; price in CNY."""

    __slots__ = (
        "category", "json", "list_price", "name", "page", "price", "search", "sku", "stock", "unwish", "view", "wish",
    )  # fmt: skip

    def __init__(self, sku: str, category: str, price: float) -> None:
        self.sku, self.category, self.list_price = sku, category, price
        self.stock = 0
        self.name = f"{category.title()} {sku[6:]}"
        url = f"https://shop.example/{category}"
        self.page = body("Page Viewed", {"url": url, "title": category.title(), "category": category})
        self.search = body("Products Searched", {"query": self.name.lower(), "results": 3 + int(price) % 40})
        self.reprice(price)

    def reprice(self, price: float) -> None:
        """Set the price and render what shows it."""
        self.price = price
        product = {"sku": self.sku, "category": self.category, "price": price, "name": self.name}
        self.json = to_json(product)
        url = f"https://shop.example/p/{self.sku}?utm_source=feed"
        self.view = body("Product Viewed", {"product": product, "url": url})
        self.wish = body("Product Added to Wishlist", {"product": product})
        self.unwish = body("Product Removed from Wishlist", {"product": product})


class Catalogue:
    """All products of a shop with so many customers; ``by_category`` holds them again."""

    def __init__(self, rng: Random, customers: int) -> None:
        each = max(LEAST_EACH, customers // CUSTOMERS_EACH)
        self.by_category = [
            [
                Product(f"SKU-{number:02d}{item:02d}", category, round(rng.lognormvariate(4.2, 0.7), 1))
                for item in range(each)
            ]
            for number, category in enumerate(CATEGORIES)
        ]
        self.products = [product for products in self.by_category for product in products]

    def change(self, rng: Random) -> tuple[bytes, bytes]:
        """A price or stock change: (key, head and body). Few products change often; what is sold out comes back."""
        product = self.products[int(rng.random() ** 2 * len(self.products))]
        if rng.random() < 0.3:
            old = product.price
            product.reprice(round(product.list_price * rng.choice((1.0, 1.0, 0.9, 0.8, 0.7)), 1))
            changed = body("Price Changed", {"sku": product.sku, "price": product.price, "old_price": old})
        else:
            low, most = rng.choice(((0, 0), (1, 5), (6, 200), (6, 200))) if product.stock else (6, 200)
            product.stock = rng.randint(low, most)
            changed = body("Stock Changed", {"sku": product.sku, "stock": product.stock})
        return product.sku.encode(), b'"source":"stock",' + changed
