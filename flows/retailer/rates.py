"""How often things happen in the simulated shop. Shares lie in 0..1; what each is a share of is said beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from schemas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rates:
    """The defaults are a shop with every trouble a stitching has to face."""

    # Of the records.
    broken: float = 0.005  # extra records no decoder accepts
    duplicates: float = 0.01  # records that come a second time, same id
    late: float = 0.01  # records whose time lies minutes to days before their ``at``
    junk: float = 0.01  # records with an identifier everybody has, like ``phone:0000``
    kiosk: float = 0.01  # records from a screen in a store that any customer may log in at
    product: float = 0.01  # stock and price changes, nobody's

    # Of the customers.
    shared: float = 0.08  # share a family tablet with one other
    members: float = 0.6  # have signed up before the simulation starts; others do later, or never
    email: float = 0.7  # allow marketing by e-mail when they sign up
    sms: float = 0.5
    wechat: float = 0.6
    offices: float = 0.0  # shop for an office: eight of each

    # Of the visits.
    undecided: float = 0.15  # look at one product three times, buy nothing
    impulse: float = 0.2  # fill a cart without needing anything
    message: float = 0.12  # start with a campaign message, where consent is given
    consent: float = 0.02  # withdraw or grant a consent
    lapse: float = 0.03  # are followed by long silence: five to nine usual gaps

    # Of the carts, orders, messages.
    abandon: float = 0.35  # filled carts left behind by those in need; by others twice as often
    resume: float = 0.3  # abandoned carts bought after all, after 40 minutes to two days
    till: float = 0.3  # purchases of members in a store
    refund: float = 0.06
    cancel: float = 0.02
    ticket: float = 0.04
    opened: float = 0.4  # of a customer with average loyalty
    clicked: float = 0.35

    hazard: float = 1 / 150  # median hazard to leave for ever, per day

    def __post_init__(self) -> None:
        faults = [
            f"rates.{field.name}: {getattr(self, field.name)!r}, allowed is 0 to 1"
            for field in fields(self)
            if not 0 <= getattr(self, field.name) <= 1
        ]
        if faults:
            raise ConfigError(faults)

    @property
    def extra(self) -> float:
        """Records written for one that the customers and the stock system cause."""
        return 1 + self.broken + self.duplicates
