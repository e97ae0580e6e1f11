"""What customers do when they come: look, compare, need, forget, sign up, change their mind about messages."""

from __future__ import annotations

from math import exp

from flows.retailer.encode import body, to_json
from flows.retailer.population import Person
from flows.retailer.purchase import buy, fill_and_leave, need_later
from flows.retailer.visit import Visit, at_desk, enter, enter_kiosk
from flows.retailer.world import MINUTE, World

_HOME = {"language": "zh", "country": "CN", "timezone": "Asia/Shanghai"}


def begin(world: World, person: Person, first_visit: int) -> None:
    """Put a customer's first visit and sign-up into the diary."""
    person.known = person.signup_at is not None and person.signup_at < person.born
    person.needs = world.any_product(person)
    person.due = first_visit + int(world.chance() * person.cycle * person.gap)
    world.later(first_visit, person, visit)
    if person.signup_at is not None and not person.known:
        world.later(person.signup_at, person, sign_up)


def visit(world: World, person: Person, time: int) -> None:
    """One visit, whatever it is for; the next one is put into the diary."""
    world.later(_next_visit(world, person, time), person, visit)
    if person.known and not person.reported:
        _report(world, person, time)
    if world.kiosk_due():
        _at_kiosk(world, person, time)
    elif person.granted and world.chance() < world.rates.message:
        _campaign(world, person, time)
    elif person.known and world.chance() < world.rates.consent:
        _change_consent(world, person, time)
    elif time >= person.due:
        buy(world, person, time)
    else:
        _idle(world, person, time)


def _next_visit(world: World, person: Person, time: int) -> int:
    gap = person.gap * (2 if time >= person.fades_at else 1)
    wait = world.rng.expovariate(1 / gap)
    if world.chance() < world.rates.lapse:
        wait += gap * world.between(5, 10)
    return time + 1 + int(wait)


def _idle(world: World, person: Person, time: int) -> None:
    """Nothing is needed today."""
    came = enter(world, person, time)
    chance = world.chance()
    if chance < world.rates.undecided:
        _compare(world, person, came)
    elif chance < world.rates.undecided + world.rates.impulse:
        fill_and_leave(world, person, came)
    else:
        _look(world, person, came)
    came.close()


def _look(world: World, person: Person, came: Visit) -> None:
    """A few products, perhaps a search, often the one wished for."""
    if world.chance() < 0.3:
        came.add(world.any_product(person).search)
    for _ in range(world.between(2, 8)):
        came.add(world.any_product(person).view)
    if world.chance() < 0.4:
        _wish(world, person, came)


def _compare(world: World, person: Person, came: Visit) -> None:
    """The wished-for product three times, others between."""
    for _ in range(3):
        _wish(world, person, came)
        if world.chance() < 0.6:
            came.add(world.any_product(person).view)


def _wish(world: World, person: Person, came: Visit) -> None:
    """Another look at what is wished for; now and then that is something else. Members keep a list of it."""
    before = person.wish
    if before is None or world.chance() < 0.1:
        person.wish = world.any_product(person)
        if person.known:
            came.add(person.wish.wish)
            if before is not None:
                came.add(before.unwish)
    assert person.wish is not None
    came.add(person.wish.view)


def _at_kiosk(world: World, person: Person, time: int) -> None:
    before = len(world.events)
    came = enter_kiosk(world, person, time)
    _look(world, person, came)
    came.close()
    world.in_kiosk += len(world.events) - before


def sign_up(world: World, person: Person, time: int) -> None:
    """The anonymous visitor becomes a member, with addresses and consents; the form takes number and addresses."""
    channel = person.channels[int(world.chance() * len(person.channels))]
    came = enter(world, person, time, channel)
    came.add(world.any_product(person).view)
    person.known = person.reported = True
    _grant(person)
    written = person.email.upper() if person.x % 10 == 0 else person.email  # forms keep what people type
    born = f"{1960 + person.x % 45}-{1 + person.x % 12:02}-{1 + person.x % 28:02}"
    name = f"{person.email.split('.')[0].title()} {person.uid}"
    details = body("Signed Up", {"name": name, "birthday": born} | _HOME)
    came.head = came.head.replace(b'"identifiers":[', b'"identifiers":[%b,' % _credentials(person, written), 1)
    came.add(details + _consent(dict.fromkeys(sorted(person.granted), True)))
    need_later(world, person, time)


def _credentials(person: Person, email: str) -> bytes:
    proven = [{"ns": "member", "value": person.member, "kind": "login"}]
    return to_json([*proven, {"ns": "phone", "value": person.phone}, {"ns": "email", "value": email}])[1:-1]


def _grant(person: Person) -> None:
    """WeChat messages need a WeChat account the shop knows."""
    person.granted = {channel for channel in person.wishes if channel != "wechat" or "mini" in person.channels}


def _report(world: World, person: Person, time: int) -> None:
    """A member from before the start: the member file says who it is and what is allowed."""
    person.reported = True
    _grant(person)
    changed = body("Consent Changed", {"wording": "as recorded in the member file"})
    at_desk(world, person, "crm", time).add(changed + _consent(dict.fromkeys(sorted(person.granted), True)))


def _change_consent(world: World, person: Person, time: int) -> None:
    """Withdraw one where there is one, two times in three; else allow all that was wished for."""
    if person.granted and world.chance() < 0.67:
        channel = sorted(person.granted)[int(world.chance() * len(person.granted))]
        person.granted.discard(channel)
        changes = {channel: False}
    else:
        _grant(person)
        changes = dict.fromkeys(sorted(person.granted), True)
    wording = body("Consent Changed", {"wording": "preference centre"})
    at_desk(world, person, "crm", time).add(wording + _consent(changes))


def _consent(changes: dict[str, bool]) -> bytes:
    """The envelope's consent list, to follow the body."""
    entries = [{"channel": channel, "granted": granted} for channel, granted in changes.items()]
    return b',"consent":' + to_json(entries)


def _campaign(world: World, person: Person, time: int) -> None:
    """A message of the shop's own: sent, delivered; the loyal open and click more; a click is a visit."""
    channel = sorted(person.granted)[int(world.chance() * len(person.granted))]
    letter = at_desk(world, person, channel, time)
    message = {"channel": channel, "message_id": f"m{world.new_id().decode()}", "play": "newsletter"}
    letter.add(body("Message Sent", message), 500, 5_000)
    bounces = world.chance()
    if bounces < 0.02:
        letter.add(body("Message Bounced", message | {"bounce": "hard" if bounces < 0.004 else "soft"}))
        return
    letter.add(body("Message Delivered", message), MINUTE, 300 * MINUTE)
    if world.chance() < world.rates.opened * exp(0.3 * person.loyalty):
        _opened(world, person, letter, message)


def _opened(world: World, person: Person, letter: Visit, message: dict[str, str]) -> None:
    letter.add(body("Message Opened", message | {"subject": "New this week"}), 2_000, 60_000)
    answer = world.chance()
    if answer < 0.02:
        person.granted.discard(message["channel"])
        letter.add(body("Unsubscribed", message) + _consent({message["channel"]: False}))
    elif answer < 0.025:
        person.granted.discard(message["channel"])
        letter.add(body("Message Complained", message))
    elif world.chance() < world.rates.clicked:
        letter.add(body("Message Clicked", message | {"url": "https://shop.example/new"}), 500, 3_000)
        came = enter(world, person, letter.at)
        _look(world, person, came)
        came.close()
