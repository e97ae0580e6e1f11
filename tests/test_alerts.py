"""Every alert: it fires when it should and not when it should not, by promtool; it has a section in the runbook; it
asks only for metrics that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from prometheus_client import REGISTRY

from flows.cli import main
from operators import metrics
from operators.metrics import METRICS
from tests.prometheus import program

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "rules.yml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
EXPRESSIONS = [rule["expr"] for group in GROUPS for rule in group["rules"]]


class Case(NamedTuple):
    """Series in promtool's notation (a value a minute, or every ten where it takes a day), when to look, and the labels
    with which ``alert`` fires there; none: it does not fire."""

    alert: str
    series: dict[str, str]
    at: str
    fires: dict[str, str] | None = None

    @property
    def minutes(self) -> int:
        return int(self.at.removesuffix("m"))


def latency(good: str, late: str) -> dict[str, str]:
    """Triggers within a second and all, by minute."""
    name = "touchstream_trigger_latency_seconds"
    return {f'{name}_bucket{{since="append",le="1.0"}}': good, f'{name}_count{{since="append"}}': late}


UP = 'up{job="touchstream",instance="a"}'
START = 'process_start_time_seconds{job="touchstream",instance="a"}'
BUILT = {f'touchstream_build_info{{flow="{flow}"}}': "1x20" for flow in ("stitch", "engage", "learn", "kpis")}
LAG = 'touchstream_lag_seconds{flow="engage",topic="ts.stitched",partition="%d"}'
LAG_RECORDS = 'touchstream_lag_records{flow="engage",topic="ts.stitched",partition="0"}'
COMMITTED = 'touchstream_last_commit_timestamp_seconds{flow="engage",instance="%s"}'
STABLE = 'touchstream_last_stable_offset_age_seconds{flow="engage",topic="ts.stitched",instance="%s"}'
REDIS = 'touchstream_redis_errors_total{flow="engage",operation="mget"}'
EVICTED = 'touchstream_redis_evicted_keys_total{flow="engage",instance="%s"}'
TAKEN = 'touchstream_takeovers_total{flow="engage",kind="%s"}'
FAILED = 'touchstream_delivery_failures_total{flow="stitch"}'
CONFLICTS = 'touchstream_commit_conflicts_total{flow="engage"}'
RECEIVED = 'touchstream_source_records_total{topic="ts.tills",instance="%s"}'
DEAD = 'touchstream_source_defects_total{topic="ts.tills",dimension="validity"}'
QUARANTINED = 'touchstream_identity_changes_total{kind="quarantined"}'
ACTIVATED = "touchstream_model_activations_total"
LEARNED = 'touchstream_records_consumed_total{flow="learn",topic="ts.churn.examples"}'
NOTICED = 'touchstream_alerts_total{kind="%s"}'

ENGAGE, STITCHED = {"flow": "engage"}, {"topic": "ts.stitched"}
OF_ENGAGE = {**ENGAGE, **STITCHED}

CASES = [
    # A fifth of the triggers late burns 20 budgets; one in fifty burns two; one in 200 none.
    Case("TouchstreamLatencyBudgetBurnsFast", latency("0+80x70", "0+100x70"), "65m", {}),
    Case("TouchstreamLatencyBudgetBurnsFast", latency("0+92x400", "0+100x400"), "380m", {}),
    Case("TouchstreamLatencyBudgetBurnsFast", latency("0+98x400", "0+100x400"), "380m"),
    # It is over: the short window knows at once.
    Case("TouchstreamLatencyBudgetBurnsFast", latency("0+80x60 4900+100x40", "0+100x100"), "95m"),
    Case("TouchstreamLatencyBudgetBurnsSlowly", latency("0+96x150", "0+100x150"), "1490m", {}),
    Case("TouchstreamLatencyBudgetBurnsSlowly", latency("0+98x440", "0+100x440"), "4390m", {}),
    Case("TouchstreamLatencyBudgetBurnsSlowly", latency("0+995x440", "0+1000x440"), "4390m"),
    Case("TouchstreamDown", {UP: "1x3 0x5"}, "6m", {"job": "touchstream", "instance": "a"}),
    Case("TouchstreamDown", {UP: "1x3 0 1x5"}, "6m"),
    Case("TouchstreamMetricsAbsent", {**BUILT, 'touchstream_build_info{flow="engage"}': "1x3 stale"}, "10m", ENGAGE),
    Case("TouchstreamMetricsAbsent", BUILT, "10m"),
    Case("TouchstreamCrashLoop", {START: "0+60x15"}, "12m", {"job": "touchstream", "instance": "a"}),
    Case("TouchstreamCrashLoop", {START: "0x5 600x5 900x5"}, "15m"),
    Case("TouchstreamLoopHangs", {'touchstream_loop_idle_seconds{flow="engage"}': "0 60 120"}, "2m", ENGAGE),
    Case("TouchstreamLoopHangs", {'touchstream_loop_idle_seconds{flow="engage"}': "0x5 30x5"}, "10m"),
    Case("TouchstreamLagHigh", {LAG % 0: "0x5 90x20", LAG % 1: "0x25"}, "20m", OF_ENGAGE),
    Case("TouchstreamLagHigh", {LAG % 0: "0x5 90x5 0x15"}, "20m"),
    Case("TouchstreamLagGrowing", {LAG % 0: "0+60x20", LAG % 1: "0x20"}, "15m", OF_ENGAGE),
    Case("TouchstreamLagGrowing", {LAG % 0: "3000-60x30"}, "15m"),
    Case(
        "TouchstreamPartitionStalled",
        {LAG % 0: "0+60x20", LAG % 1: "0x20"},
        "15m",
        {**OF_ENGAGE, "partition": "0"},
    ),
    Case("TouchstreamPartitionStalled", {LAG % 0: "0+60x20", LAG % 1: "0+60x20"}, "15m"),
    Case("TouchstreamCommitsStale", {COMMITTED % "a": "0x20", LAG_RECORDS: "7x20"}, "10m", ENGAGE),
    # One stands by, the other commits; and who has nothing to do commits nothing.
    Case("TouchstreamCommitsStale", {COMMITTED % "a": "0x20", COMMITTED % "b": "0+60x20", LAG_RECORDS: "7x20"}, "10m"),
    Case("TouchstreamCommitsStale", {COMMITTED % "a": "0x20", LAG_RECORDS: "0x20"}, "10m"),
    Case(
        "TouchstreamTransactionHangs",
        {STABLE % "a": "0x3 60+60x5", STABLE % "b": "0x9"},
        "6m",
        STITCHED,
    ),
    Case("TouchstreamTransactionHangs", {STABLE % "a": "5x9"}, "6m"),
    Case("TouchstreamTimersLate", {"touchstream_timers_overdue_seconds": "0+60x20"}, "10m", {}),
    Case("TouchstreamTimersLate", {"touchstream_timers_overdue_seconds": "0 90 0x10"}, "10m"),
    Case("TouchstreamRedisErrors", {REDIS: "0+60x20"}, "10m", ENGAGE),
    Case("TouchstreamRedisErrors", {REDIS: "0 1x20"}, "10m"),
    Case("TouchstreamRedisEvicts", {EVICTED % "a": "0x5 9x5", EVICTED % "b": "0x5 9x5"}, "8m", {}),
    Case("TouchstreamRedisEvicts", {EVICTED % "a": "9x20"}, "8m"),
    Case("TouchstreamRedisLostState", {TAKEN % "rollback": "0x5 4x5"}, "8m", ENGAGE),
    Case("TouchstreamRedisLostState", {TAKEN % "crash": "0x5 4x5", TAKEN % "rollback": "0x10"}, "8m"),
    Case("TouchstreamDeliveryFailures", {FAILED: "0+5x30"}, "25m", {"flow": "stitch"}),
    Case("TouchstreamDeliveryFailures", {FAILED: "0x5 500x30"}, "25m"),
    Case("TouchstreamConflictsStorm", {CONFLICTS: "0+30x20"}, "15m", ENGAGE),
    Case("TouchstreamConflictsStorm", {CONFLICTS: "0x5 4x20"}, "15m"),
    Case("TouchstreamDeadLetterRatio", {DEAD: "0+10x30", RECEIVED % "a": "0+100x30"}, "25m", {"topic": "ts.tills"}),
    Case("TouchstreamDeadLetterRatio", {DEAD: "0+1x30", RECEIVED % "a": "0+100x30"}, "25m"),
    Case("TouchstreamSourceQuiet", {RECEIVED % "a": "0+60x600 36000x60"}, "640m", {"topic": "ts.tills"}),
    # The process was replaced, and the source goes on; another never sent much.
    Case("TouchstreamSourceQuiet", {RECEIVED % "a": "0+60x600 36000x60", RECEIVED % "b": "_x590 0+60x70"}, "640m"),
    Case("TouchstreamSourceQuiet", {RECEIVED % "a": "0x300 1x400"}, "640m"),
    Case("TouchstreamQuarantineSpike", {QUARANTINED: "0x144 0+10x6"}, "1500m", {}),
    Case("TouchstreamQuarantineSpike", {QUARANTINED: "0+10x150"}, "1500m"),
    Case("TouchstreamModelStale", {ACTIVATED: "4x160", LEARNED: "0+10x160"}, "1550m", {}),
    Case("TouchstreamModelStale", {ACTIVATED: "0x80 4x80", LEARNED: "0+10x160"}, "1550m"),
    Case("TouchstreamModelStale", {ACTIVATED: "4x160", LEARNED: "9x160"}, "1550m"),
    Case("TouchstreamPlayFails", {NOTICED % "play_error": "0x10 1x10"}, "15m", {}),
    Case("TouchstreamPlayFails", {NOTICED % "play_error": "1x20", NOTICED % "quarantined": "0+1x20"}, "15m"),
    Case("TouchstreamModelDrifts", {NOTICED % "model_drift": "0x10 1x10"}, "15m", {}),
    Case("TouchstreamModelDrifts", {NOTICED % "model_drift": "1x20", NOTICED % "quarantined": "0+1x20"}, "15m"),
]


def as_test(case: Case) -> dict[str, Any]:
    """A case as promtool wants it."""
    alert, expected = ALERTS[case.alert], []
    if case.fires is not None:
        expected = [{"exp_labels": case.fires | alert["labels"], "exp_annotations": alert["annotations"]}]
    return {
        "interval": "1m" if case.minutes < 1_440 else "10m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }


def promtool(*arguments: str) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_configuration_are_valid() -> None:
    assert f"SUCCESS: {len(ALERTS) + len(RECORDED)} rules found" in promtool("check", "rules", str(RULES))
    promtool("check", "config", str(FOLDER / "prometheus.yml"))


@pytest.mark.parametrize("every", [1, 10])
def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path, every: int) -> None:
    file = tmp_path / "cases.yml"
    # What takes hours is looked at every ten minutes: else evaluating it would take minutes.
    tests = [as_test(case) for case in CASES if every == (1 if case.minutes < 300 else 10)]
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": f"{every}m", "tests": tests}))
    promtool("test", "rules", str(file))


def test_every_alert_has_a_case_of_each_kind() -> None:
    assert {case.alert for case in CASES if case.fires is not None} == ALERTS.keys()
    assert {case.alert for case in CASES if case.fires is None} == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_what_it_means_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert "\n" not in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    section = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    for part in ("**Means.**", "**Look at.**", "**Do.**"):
        assert part in section, f"{name} lacks {part}"


def test_the_runbook_is_about_alerts_that_there_are() -> None:
    assert set(re.findall(r"^## (Touchstream\w+)$", RUNBOOK, re.MULTILINE)) == ALERTS.keys()


def test_the_runbook_names_commands_that_there_are() -> None:
    for command in re.findall(r"`touchstream ([a-z -]+?)`", RUNBOOK):
        found: click.Command = main
        for word in command.split():
            if isinstance(found, click.Group):
                assert word in found.commands, command
                found = found.commands[word]


def test_counters_that_alerts_wait_for_are_there_before_they_count() -> None:
    metrics.expect(metrics.KINDS)
    for name, label in re.findall(r'(touchstream_\w+_total)\{kind="(\w+)"\}', " ".join(EXPRESSIONS)):
        if "takeovers" not in name:
            assert REGISTRY.get_sample_value(name, {"kind": label}) is not None, (name, label)


def names(text: str) -> set[str]:
    """Metrics that a text mentions, without the endings of histograms."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\btouchstream_\w+", text)}


def test_rules_and_runbook_name_metrics_that_there_are() -> None:
    known = {row.name for row in METRICS}
    assert {name for each in EXPRESSIONS for name in names(each)} <= known
    assert names(RUNBOOK) <= known
    used = {name for each in EXPRESSIONS for name in re.findall(r"touchstream:\w+:\w+", each)}
    assert used == RECORDED
