"""The demo's own logic without servers: options, figures, account, lines and page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from flows import settings
from flows.demo import account, options
from flows.demo.figures import Figures, Latency, percentiles
from flows.demo.lines import TRIGGERS_A_SECOND, Lines
from flows.demo.machinery import Folder, end, environment
from flows.demo.options import Options
from flows.demo.page import Page
from flows.status import Account as Found
from flows.status import FlowStatus, PartitionStatus, Status
from schemas.errors import ConfigError
from schemas.outputs import DeadLetter, Score, Trigger, TriggerData
from schemas.plays import milliseconds

AT = 1_767_225_600_000


def trigger(number: int, play: str = "welcome", ts: int = AT, **more: Any) -> Trigger:
    data = TriggerData(play, "v1", f"customer-{number}", "sms", "signup", "t", AT, ts, AT, **more)
    made: dict[str, Any] = {
        "source": "s",
        "type": "t",
        "subject": "c",
        "time": "2026-01-01T00:00:00Z",
        "traceparent": "00",
    }
    return Trigger(id=f"{play}/{number}", data=data, **made)


def dead_letter(offset: int, reason: str = "invalid") -> DeadLetter:
    return DeadLetter(reason, "$", "stitch", "demo.touchpoints", 0, offset, AT, AT, "")


def status(found: Found, consumed: int) -> Status:
    rows = [PartitionStatus("demo.touchpoints", n, None, consumed // 2, consumed // 2, 0) for n in range(2)]
    return Status("demo", [FlowStatus("stitch", "empty", 0, 0, rows)], found, None)


def test_options_default_to_a_natural_shop_and_report_all_faults() -> None:
    assert options.read({"seconds": None, "json": False, "rate": None}) == Options()
    assert Options(rate=1_500, speed=86_400).shop == 1_000
    assert Options(customers=7).shop == 7
    with pytest.raises(ConfigError) as caught:
        options.read({"seconds": 0.0, "rate": float("nan"), "customers": 1, "seed": -1, "speed": float("inf")})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "--seconds", "--rate", "--customers", "--seed", "--speed",
    ]  # fmt: skip


@pytest.mark.parametrize("speed", [0.5, 1.0, 86_400.0, 1e7])
def test_the_configuration_is_valid_at_any_speed_and_private(tmp_path: Path, speed: float) -> None:
    config = options.deployment(Options(speed=speed), "localhost:1", "redis://localhost:1/0")
    path = options.write(config, tmp_path)
    assert settings.load(path, {}) == config
    assert milliseconds(options.plays(Options(speed=speed)).limits.start_within) >= speed * 1000
    assert path.stat().st_mode & 0o077 == 0
    assert config.limits.park_seconds >= 10 * speed


def test_runs_on_real_servers_have_topics_of_their_own() -> None:
    first, second = (options.deployment(Options(kafka="k:1"), "k:1", "redis://r:1/0").prefix for _ in range(2))
    assert first != second


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([]) == Latency(None, None)
    assert percentiles([7]) == Latency(7, 7)
    assert percentiles(list(range(1, 101))) == Latency(50, 100)
    assert percentiles([5, 1, 3]) == Latency(3, 5)


def test_figures_count_each_trigger_and_dead_letter_once() -> None:
    figures = Figures()
    first = figures.on_trigger(trigger(1), AT + 30)
    assert first is not None
    assert first.latency == 30
    assert figures.on_trigger(trigger(1), AT + 40) is None
    timer = figures.on_trigger(trigger(2, "cart_abandoned", ts=0, values={"value": 12.5}), AT + 40)
    assert timer is not None
    assert (timer.latency, timer.detail) == (None, "value 12.5")
    for offset in (1, 2, 2):
        figures.on_dead_letter(dead_letter(offset))
    figures.on_score(Score("c", AT + 9, 0.9, "high", "m"))
    assert figures.triggers == {"welcome": 1, "cart_abandoned": 1}
    assert figures.latency == Latency(30, 30)
    assert (figures.dead.total(), figures.measured, figures.clock, figures.bands) == (2, 1, AT + 9, {"c": "high"})


def full() -> Figures:
    figures = Figures(counts={"applied": 7, "duplicates": 2, "identity_created": 5, "identity_merged": 2})
    figures.written = {"written": 10, "valid": 7, "duplicates": 2, "broken": 1}
    figures.counts |= {"decision/welcome/emitted": 1, "decision/welcome/no_consent": 3}
    figures.on_trigger(trigger(1), AT + 30)
    figures.on_dead_letter(dead_letter(4))
    return figures


def test_the_account_closes_without_the_text_beside_offsets() -> None:
    figures = full()
    settled = account.settle(status(Found(None, 7, 2, 0, None, None), 10), figures, 5.0)
    assert (settled.consumed, settled.dead_letters, settled.closes, settled.missing) == (10, 1, True, 0)
    assert (settled.customers, settled.merges) == (3, 2)
    assert settled.triggers == {"welcome": 1}
    assert "The account closes" in account.lines(settled, figures)[-1]
    assert msgspec.json.decode(msgspec.json.encode(settled))["latency_ms"] == {"p50": 30, "p99": 30}


@pytest.mark.parametrize(
    ("found", "written", "told"),
    [
        (Found(12, 7, 2, 0, 1, 2), 12, "touchpoints that ended nowhere: 2"),
        (Found(9, 7, 2, 0, 1, -1), 9, "touchpoints that ended twice: 1"),
        (Found(10, 7, 2, 0, 1, 0), 11, "11 were written but 10 consumed"),
    ],
)
def test_an_account_that_does_not_close_says_what_is_wrong(found: Found, written: int, told: str) -> None:
    figures = full()
    figures.written["written"] = written
    settled = account.settle(status(found, 10), figures, 5.0)
    assert not settled.closes
    assert told in account.verdict(settled, figures)


def test_a_trigger_that_was_decided_but_never_read_keeps_it_open() -> None:
    figures = full()
    figures.counts["decision/churn_warning/emitted"] = 1
    settled = account.settle(status(Found(10, 7, 2, 0, 1, 0), 10), figures, 5.0)
    assert not settled.closes
    assert "2 triggers decided but 1 read" in account.verdict(settled, figures)


def test_lines_hold_back_what_nobody_can_read_but_show_every_play() -> None:
    figures, written = Figures(), list[str]()
    figures.phase = "running"
    emitted = [figures.on_trigger(trigger(n), AT + 5) for n in range(9)]
    emitted.append(figures.on_trigger(trigger(1, "churn_warning", ts=0, score=0.81), AT + 5))
    figures.began -= 61.0
    figures.running_since = figures.began
    Lines(figures, written.append).show([each for each in emitted if each is not None])
    assert [line for line in written if "welcome" in line] == written[1 : 1 + TRIGGERS_A_SECOND]
    assert any("churn_warning" in line and "timer" in line and "p(leaves) 0.81" in line for line in written)
    assert written[0] == "01:01  running"
    assert not [line for line in written if "live screens" in line]
    assert (
        f"triggers 10  p50 5 ms  p99 5 ms  dead letters 0  models 0  (and {9 - TRIGGERS_A_SECOND} more" in written[-1]
    )


def test_lines_say_once_where_the_screens_are() -> None:
    figures, written = Figures(url="http://x:8080"), list[str]()
    lines = Lines(figures, written.append)
    lines.show()
    lines.show()
    assert [line for line in written if "live screens" in line] == ["00:00  live screens: http://x:8080"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 10), (200, 12)])
def test_the_page_fits_its_terminal(width: int, height: int) -> None:
    figures = full()
    for number in range(2, 60):
        figures.on_trigger(trigger(number, "repeat_view", values={"sku": "[red]x[/]"}), AT + number)
    figures.url = "http://x:8080"
    figures.lag, figures.clock = {"stitch": 3, "engage": None, "learn": 0}, AT
    console = Console(file=io.StringIO(), record=True, width=width, height=height, force_terminal=True)
    console.print(Page(figures, "a title", console).render(), height=height)
    lines = console.export_text().splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    if (width, height) == (120, 40):
        page = "\n".join(lines)
        for text in (
            "stitch 3  engage -",
            "3  2 merges",
            "no_consent 3",
            "invalid 1",
            "58 ms",
            "[red]x[/]",
            "http://x:8080",
            "Ctrl-C",
        ):
            assert text in page


def test_the_folder_goes_unless_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Folder() as gone:
        assert gone.path.is_dir()
    with Folder() as kept:
        kept.keep()
    assert list(tmp_path.iterdir()) == [kept.path]


def test_settings_of_other_deployments_do_not_reach_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTREAM_PREFIX", "production")
    assert not [name for name in environment() if name.startswith("TOUCHSTREAM_")]


def test_the_end_of_a_log_is_what_went_wrong(tmp_path: Path) -> None:
    log = tmp_path / "flows.log"
    log.write_text("")
    assert end(log) == "(it is empty)"
    log.write_text('{"level":"info","m":1}\n{"level":"critical","m":2}\n  3: backtrace\nnote: more\n{"level":"info"}\n')
    assert end(log) == '{"level":"critical","m":2}'
