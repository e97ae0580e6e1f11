"""The live screens in a real Chromium, with real flows, Kafka and Valkey behind them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from playwright.sync_api import Browser

from flows import admin, models_control
from schemas.config import Config, Dashboard, Metrics
from schemas.outputs import Alert, Kpis
from schemas.topics import topic_name
from tests import servers
from tests.conftest import new_config
from tests.servers import KafkaServer
from tests.system import browser as chromium
from tests.system import web
from tests.system.browser import PHONE, Window
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic
from tests.system.web import EMAIL, MASKED, MEMBER, SENTINELS, Service, Shop

pytestmark = [pytest.mark.flows, pytest.mark.system]

LIVE = ("/", "/plays", "/churn", "/quality")
ALL = (*LIVE, "/customers")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def config(kafka: str, redis_server: str) -> Iterator[Config]:
    settings = Dashboard(requests_per_minute=100_000)
    config = msgspec.structs.replace(new_config(kafka, redis_server), metrics=Metrics(port=0), dashboard=settings)
    admin.create(config)
    yield config
    servers.clear(config.redis.url, config.prefix)


@pytest.fixture(scope="module")
def service(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service"), config) as service:
        yield service


@pytest.fixture
def window(browser: Browser, service: Service, tmp_path: Path) -> Iterator[Window]:
    window = Window(browser, f"http://{service.address}", shots=tmp_path)
    yield window
    window.close()
    assert window.strays == [], "pages need nothing but the service"
    assert window.complaints == []


@pytest.fixture(scope="module")
def shop(service: Service, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Begins to live when a test asks for it: what is tested before sees an empty shop."""
    with web.shop(config, tmp_path_factory.mktemp("shop")) as shop:
        yield shop


def test_before_anything_has_happened_pages_say_so(window: Window) -> None:
    for path in LIVE:
        window.go(path, ".nothing")
        window.await_text(".pill", "Waiting for figures")
    window.go("/")
    window.await_text("[data-html=triggers]", "No message has been sent yet")
    window.await_text("[data-html=funnel]", "Nobody has looked at anything yet")
    window.shoot("empty")


def test_a_page_that_is_open_tells_what_happens(window: Window, shop: Shop) -> None:
    window.go("/")
    window.await_text("[data-html=triggers]", "thanks .* sms")
    window.await_text("[data-html=tiles]", "Orders .* 1 in .* Revenue 10.00")
    for _ in range(5):
        shop.send("member:" + MEMBER, kind="Product Viewed", product={"sku": "tea"})
    window.await_text("[data-html=funnel]", "Viewed a product 5")
    window.await_text(".pill", "Live")
    window.go("/plays")
    window.await_text("[data-html=plays]", r"thanks sms \d")
    window.go("/quality")
    window.await_text("[data-html=sources]", r"shop 8 .* Product Viewed 6\d %")


@pytest.mark.long("pages")
def test_figures_that_stand_still_are_seen_to(window: Window, shop: Shop) -> None:
    window.go("/")
    window.await_text(".pill", r"No figures for (\d\d+ s|\d min)")
    assert window.page.get_attribute(".page", "data-state") in ("warn", "bad")
    shop.send("member:" + MEMBER, kind="Page Viewed", url="https://shop/")
    window.await_text(".pill", "Live")


def test_a_customer_is_found_and_shown_masked(window: Window, shop: Shop) -> None:
    look_up(window, "email:" + EMAIL)
    window.await_text(".who", "masked")
    story = window.text(".page")
    for part in (*MASKED.values(), "Orders 1", "observed", "holds", "thanks"):
        assert part in story, part
    everything = (window.page.content() + window.page.url).lower()
    assert [everything[max(0, everything.index(each) - 80) :][:200] for each in SENTINELS if each in everything] == []
    window.page.focus(".decisions summary >> nth=0")
    window.page.keyboard.press("Enter")
    window.await_text(".decisions details", "passed .* brought about by")
    shop.send("member:" + MEMBER, kind="Order Completed", order_id="o2", revenue=20.0)
    window.await_text(".tiles", "Orders 2 ")
    window.shoot("customer")


@pytest.mark.long("pages")
def test_whom_nobody_knows_is_not_found(window: Window, shop: Shop) -> None:
    look_up(window, "member:nobody-knows")
    window.await_text(".answer", "[Nn]obody here")


def look_up(window: Window, whom: str) -> None:
    window.go("/customers")
    window.page.fill(".find input", whom)
    window.page.keyboard.press("Enter")


@pytest.mark.long("pages")
def test_keys_reach_everything_and_colours_can_be_switched(window: Window) -> None:
    window.go("/")
    window.page.keyboard.press("Tab")
    assert window.page.evaluate("document.activeElement.innerText") == "Skip to the figures"
    window.page.keyboard.press("Enter")
    assert window.page.evaluate("document.activeElement.id") == "figures"
    window.page.focus("[data-theme-switch]")
    colours = []
    for _ in range(3):
        window.page.keyboard.press("Enter")
        colours.append(window.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] == colours[2] != colours[1], "light, dark, as the system: light"


@pytest.mark.long("pages")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_on_a_phone(
    browser: Browser, service: Service, shop: Shop, tmp_path: Path, scheme: str
) -> None:
    window = Window(browser, f"http://{service.address}", PHONE, scheme, tmp_path)
    for path in ALL:
        window.go(path)
        assert window.overflows() <= 0, path
    window.close()


@pytest.mark.long("pages")
def test_an_agent_sees_values_for_a_purpose_that_is_on_record(window: Window, service: Service, shop: Shop) -> None:
    """The last of these: once there was a token, everybody needs one."""
    window.go("/login", "form")
    window.page.fill("#token", service.token("agent", "anna"))
    window.page.keyboard.press("Enter")
    window.page.wait_for_selector(".pill")
    look_up(window, "member:" + MEMBER)
    window.await_text(".who", "masked")
    window.page.fill("form.find input", "she rings and asks")
    window.page.keyboard.press("Enter")
    window.await_text(".who", "in the clear")
    assert EMAIL in window.text(".page")
    looks = [each for each in shop.audit() if each.op == "look"]
    assert [(each.by, each.reason) for each in looks] == [("anna", "she rings and asks")]
    window.page.get_by_role("button", name="Sign out").click()
    window.page.wait_for_url("**/login")


# -- a busy shop, and a broker that goes ------------------------------------------------------------------------


@pytest.mark.long("busy")
def test_a_busy_shop_on_every_page(browser: Browser, kafka: str, redis_server: str, tmp_path: Path) -> None:
    config = chaotic(new_config(kafka, redis_server))
    admin.create(config)
    with (
        Pipeline(tmp_path / "flows", config, ("stitch", "engage", "learn", "kpis")) as pipeline,
        Service(tmp_path / "service", config) as service,
    ):
        for flow in pipeline.flows:
            flow.start()
        feeder = Feeder(config, seed=3, rate=60)
        feeder.start()
        try:
            await_(lambda: bool(models_control.in_force(config, pipeline.redis)), "a model in force")
            shows_everything(browser, f"http://{service.address}", tmp_path)
        finally:
            feeder.finish()
    servers.clear(redis_server, config.prefix)


@pytest.mark.long("screens")
def test_a_broker_goes_and_comes_back(browser: Browser, redis_server: str, tmp_path: Path) -> None:
    """What the flows would write is written by the test: how they take it is another test's matter."""
    with KafkaServer(tmp_path / "kafka", heap="512m") as broker:
        config = new_config(broker.bootstrap, redis_server)
        admin.create(config)
        with Service(tmp_path / "service", config) as service:
            window = Window(browser, f"http://{service.address}", shots=tmp_path)
            window.go("/")
            publish(config, "kpis", Kpis(start=0, seconds=0, revision=1, clock=0, orders=1), "0/0")
            window.await_text("[data-html=tiles]", "Orders .* 1 in")
            broker.kill()
            window.await_text("[data-banner]", "Kafka .*, since .* goes on by itself")
            window.await_text(".pill", "No connection")
            assert "1 in" in window.text(".tiles"), "what was known stays"
            window.shoot("gone")
            broker.start()
            window.page.wait_for_selector("[data-banner]", state="hidden")
            publish(config, "kpis", Kpis(start=0, seconds=0, revision=2, clock=0, orders=3), "0/0")
            publish(config, "alerts", Alert("kpi", 0, "", "too few orders"))
            window.await_text("[data-html=tiles]", "Orders .* 3 in")
            window.await_text("[data-html=alerts]", "too few orders")
            window.await_text(".pill", "Live")
            window.close()


def publish(config: Config, name: str, value: msgspec.Struct, key: str = "") -> None:
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap, "log_level": 0})
    producer.produce(topic_name(config, name), msgspec.json.encode(value), key, 0)
    assert producer.flush(60) == 0


def shows_everything(browser: Browser, base: str, folder: Path) -> None:
    window = Window(browser, base, shots=folder / "shots")
    for path, selector, pattern in (
        ("/", "[data-html=tiles]", r"Touchpoints [1-9]\d* / s"),
        ("/", "[data-html=triggers]", r"\d ms"),
        ("/plays", "[data-html=plays]", "cart abandoned .* no consent"),
        ("/plays", "[data-html=effect]", r"of \d+"),
        ("/churn", "[data-html=models]", r"default \d"),
        ("/churn", "[data-html=bands]", "high .* low"),
        ("/quality", "[data-html=dead]", r"not json \d"),
    ):
        window.go(path)
        window.await_text(selector, pattern)
    delays = behind(window)
    assert delays[len(delays) // 2] < 1_000, delays
    window.close()
    for size in (chromium.LAPTOP, PHONE):
        for scheme in ("light", "dark"):
            window = Window(browser, base, size, scheme, folder / "shots")
            for path in LIVE:
                window.go(path, ".page[data-state=live]")
                assert window.overflows() <= 0, path
                window.shoot(path.strip("/") or "overview")
            assert (window.strays, window.complaints) == ([], [])
            window.close()


def behind(window: Window) -> list[int]:
    """How long figures are under way (ms), from the broker's time of a record until it is in the page, sorted."""
    window.go("/", ".page[data-state=live]")
    script = """() => new Promise((resolve) => {
      const found = [], socket = new WebSocket(`ws://${location.host}/live/overview`);
      let last = null;
      socket.onmessage = ({ data }) => {
        const { told } = JSON.parse(data).standing;
        if (last !== null && told !== last) found.push(Date.now() - told);
        last = told;
        if (found.length === 20) { socket.close(); resolve(found); }
      };
    })"""
    found: list[int] = window.page.evaluate(script)
    print("ms behind", sorted(found))
    return sorted(found)
