"""Who shops: customers with their identifiers, their habits, their true hazard and the day they leave for ever.

The shop has a fixed number of places. Who holds a place leaves at a time drawn from his hazard, then a new
customer takes it, so activity stays level. Each customer is drawn from (seed, place, generation) alone: the
truth can be told before anything happens, and telling it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp
from random import Random

from flows.retailer.catalogue import Product
from flows.retailer.rates import Rates

DAY = 86_400_000
KIOSKS = ("kiosk-0001", "kiosk-0002", "kiosk-0003")
_NAMES = ("wang", "li", "zhang", "liu", "chen", "yang", "zhao", "huang", "zhou", "wu", "xu", "sun", "ma", "zhu", "hu")
#: Channels a customer uses, the same one more often when it stands more than once.
_HABITS = (("web", "app"), ("web",), ("app", "app", "mini"), ("web", "mini"), ("mini",), ("web", "web", "app", "mini"))
#: A cookie lasts this long, then the browser has a new one (Safari clears after a while, people clear too).
COOKIE_LIFE = 45 * DAY
#: The share of customers who sign up in the end; the rest stays anonymous or buys as a guest.
_JOINS = 0.85
#: Interest wanes for the last three weeks, or the last third of a short life.
_FADE = 21 * DAY


class Person:
    """One customer: fixed traits first, then what he is up to. Times in simulated ms, hazard per day."""

    __slots__ = (
        "born", "channels", "cookies", "cycle", "device", "due", "email", "fades_at", "gap", "generation", "granted",
        "hazard", "heads", "known", "left_at", "loyalty", "member", "needs", "office", "phone", "place", "points",
        "reported", "signup_at", "store", "tablet", "uid", "wish", "wishes", "x",
    )  # fmt: skip

    x: int  # 64 random bits; small choices are read off them
    born: int  # first possible touchpoint
    left_at: int  # no touchpoint from then on
    fades_at: int  # half as many visits from then on
    signup_at: int | None  # None: never signs up; before ``born``: was a member already
    hazard: float
    loyalty: float  # standard normal; high is loyal
    gap: float  # mean ms between visits
    cycle: float  # visits between purchases, about
    office: bool  # shops for one
    wishes: tuple[str, ...]  # marketing channels allowed at sign-up
    channels: tuple[str, ...]
    member: str
    phone: str
    email: str
    cookies: int  # how many the browser gets through
    device: str
    store: str
    tablet: str | None  # a device shared with the other place of the pair
    heads: dict[str, bytes]  # rendered heads, by channel and whether logged in
    needs: Product | None  # what is bought again and again
    wish: Product | None  # what is looked at again and again
    granted: set[str]  # channels open to marketing now
    known: bool  # has signed up
    reported: bool  # the shop's records of an old member have been sent
    due: int  # when the next purchase is needed
    points: int

    def __init__(self, uid: int, place: int, generation: int) -> None:
        self.uid, self.place, self.generation = uid, place, generation
        self.heads = {}
        self.granted = set()
        self.known = self.reported = False
        self.needs = self.wish = None
        self.due = self.points = 0

    @property
    def name(self) -> str:
        """The name of this customer in the truth."""
        return f"c{self.place}.{self.generation}"

    @property
    def open_id(self) -> str:
        return f"oShop{self.x:019x}"

    @property
    def union_id(self) -> str:
        return f"uShop{self.x ^ 0x5A5A5A5A5A5A5A5A:019x}"

    @property
    def advertising_id(self) -> str:
        return f"{self.x >> 32:08x}-{self.x >> 16 & 0xFFFF:04x}-4{self.x & 0xFFF:03x}-8abc-{self.uid:012x}"

    def cookie(self, time: int) -> str:
        """The browser's cookie at ``time``."""
        return f"ck{self.x:016x}{min(self.cookies - 1, max(0, time - self.born) // COOKIE_LIFE):02d}"

    def identifiers(self, end: int) -> list[str]:
        """The ``namespace:value`` of everything that is this customer's alone until ``end``, normalised."""
        own: list[str] = []
        if self.signup_at is not None and self.signup_at < end:
            own.append(f"member:{self.member}")
        own += [f"phone:{self.phone}", f"email:{self.email}"]
        if "web" in self.channels:
            last = min(end, self.left_at) - 1
            number = int(self.cookie(last)[-2:]) + 1
            own += [f"cookie:{self.cookie(self.born + n * COOKIE_LIFE)}" for n in range(number)]
        if "app" in self.channels:
            own += [f"device:{self.device}", f"advertising_id:{self.advertising_id}"]
        if "mini" in self.channels:
            own += [f"wechat_openid:{self.open_id}", f"wechat_unionid:{self.union_id}"]
        return own


class Population:
    """All customers of a run. ``gap`` is the mean time between two visits of an average one, in ms."""

    def __init__(self, seed: int, places: int, rates: Rates, start: int, gap: float) -> None:
        self.seed, self.places, self.rates, self.start, self.gap = seed, places, rates, start, gap

    def person(self, place: int, generation: int = 0, born: int | None = None) -> Person:
        """The customer who takes ``place`` as number ``generation``, at ``born`` (None: was there at the start)."""
        rng = Random((self.seed << 64) | (generation << 32) | place)
        person = Person(generation * self.places + place, place, generation)
        self._character(person, rng)
        self._life(person, rng, born)
        self._identity(person, rng)
        return person

    def after(self, person: Person) -> Person:
        """The customer who takes the place of ``person`` when that one has left."""
        wait = Random(person.x).random() * self.gap
        return self.person(person.place, person.generation + 1, person.left_at + int(wait))

    def people(self, end: int) -> Iterator[Person]:
        """Everybody who comes before ``end``, in order of place and time."""
        for place in range(self.places):
            person = self.person(place)
            while person.born < end:
                yield person
                person = self.after(person)

    def _character(self, person: Person, rng: Random) -> None:
        """The less loyal visit less often, buy in a slower rhythm and leave sooner."""
        rates = self.rates
        person.x = rng.getrandbits(64)
        person.loyalty = rng.gauss(0, 1)
        person.hazard = min(1.0, rates.hazard * exp(-0.8 * person.loyalty))
        # exp(N(m, s)) has mean exp(m + s²/2): the mean visit rate of all stays 1 / gap.
        person.gap = self.gap / exp(rng.gauss(0.25 * person.loyalty, 0.35) - (0.25**2 + 0.35**2) / 2)
        person.cycle = rng.uniform(2.5, 6.0) * exp(-0.2 * person.loyalty)
        person.office = (person.x >> 40 & 0xFFFF) < rates.offices * 0x10000
        person.channels = _HABITS[int(rng.random() * len(_HABITS))]
        allowed = (("email", rates.email), ("sms", rates.sms), ("wechat", rates.wechat))
        person.wishes = tuple(channel for channel, share in allowed if rng.random() < share)

    def _life(self, person: Person, rng: Random, born: int | None) -> None:
        person.born = self.start if born is None else born
        lives = rng.expovariate(person.hazard / DAY) if person.hazard else 100 * 365 * DAY
        person.left_at = person.born + 1 + int(min(lives, 100 * 365 * DAY))
        person.fades_at = person.left_at - int(min(_FADE, 0.3 * lives))
        if born is None and rng.random() < self.rates.members:
            person.signup_at = self.start - int(rng.random() * 700 * DAY)
            return
        joins = person.born + int(rng.expovariate(1 / (1.5 * self.gap)))
        person.signup_at = joins if rng.random() < _JOINS and joins < person.left_at else None

    def _identity(self, person: Person, rng: Random) -> None:
        name, uid = _NAMES[person.x % len(_NAMES)], person.uid
        person.member = str(10_000_000 + uid)
        # 7,919 is prime to 10^9, so numbers never meet; mainland mobile numbers start with 13 to 19.
        person.phone = f"+8613{(uid * 7_919 + 712_345_678) % 10**9:09d}"
        person.email = f"{name}.{uid}@mail.example"
        person.cookies = 1 + int(rng.random() * 4)
        person.device = f"{person.x ^ 0xD0D0D0D0D0D0D0D0:016x}"
        person.store = f"store-{1 + int(rng.random() * 4)}"
        person.tablet = self._tablet(person)

    def _tablet(self, person: Person) -> str | None:
        """Pairs of places share a tablet, spread evenly by the golden ratio so that the share holds in small shops."""
        pair = person.place // 2
        if (pair + 1) * 2 > self.places or (0.5 + pair * 0.6180339887) % 1 >= self.rates.shared:
            return None
        return f"tab{self.seed & 0xFFFFFFFF:08x}{pair:08x}{person.generation:04x}"
