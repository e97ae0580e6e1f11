"""Writing the simulated retailer's records: counts close, rates are kept, runs end in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from flows.retailer import Chunk, FileSink, KafkaSink, Rates, Retailer, Summary, write_file, write_kafka
from flows.retailer.__main__ import main
from flows.retailer.write import write
from schemas.errors import RecordFault, TouchstreamError
from schemas.touchpoint import decode, decode_body, decode_identifiers
from tests.conftest import new_config


def recount(records: list[bytes]) -> tuple[int, int, int]:
    """Valid, duplicate and broken records, told from the records alone."""
    ids: list[str] = []
    broken = 0
    for raw in records:
        try:
            touchpoint = decode(raw)
            decode_identifiers(touchpoint.identifiers)
            decode_body(touchpoint.type, touchpoint.data)
        except RecordFault:
            broken += 1
        else:
            ids.append(touchpoint.id)
    return len(set(ids)), len(ids) - len(set(ids)), broken


def counts(summary: Summary) -> tuple[int, int, int]:
    return summary.valid, summary.duplicates, summary.broken


class Kept:
    """A sink that keeps records, and may stop the run."""

    def __init__(self, stop: Event | None = None, after: int = 0) -> None:
        self.records: list[bytes] = []
        self.sizes: list[int] = []
        self._stop, self._after = stop, after

    def write(self, chunk: Chunk) -> None:
        self.records += chunk.events
        self.sizes.append(len(chunk.events))
        if self._stop and len(self.records) >= self._after:
            self._stop.set()

    def close(self) -> int:
        return 0


def test_a_file_holds_exactly_what_was_counted(tmp_path: Path) -> None:
    rates = Rates(broken=0.03, duplicates=0.05)
    summary = write_file(Retailer(seed=2, customers=200, rates=rates), tmp_path / "out", events=12_345)
    records = (tmp_path / "out").read_bytes().split(b"\n")[:-1]
    assert summary.written == len(records) == 12_345
    valid, duplicates, broken = recount(records)
    assert (valid, duplicates, broken) == counts(summary)
    assert broken > 200
    assert summary.written == sum(counts(summary))


def test_a_stopped_run_counts_what_it_wrote() -> None:
    stop = Event()
    sink = Kept(stop, after=5_000)
    summary = write(Retailer(seed=2, customers=200), sink, stop=stop)
    assert summary.written == len(sink.records) == 5_000
    assert recount(sink.records) == counts(summary)


def test_a_rate_is_kept_and_seconds_end_the_run() -> None:
    sink, began = Kept(), time.monotonic()
    retailer = Retailer(seed=2, customers=1_000, rate=2_000, speed=86_400)
    summary = write(retailer, sink, rate=2_000, seconds=1.0)
    took = time.monotonic() - began
    assert took >= 1.0
    assert 0 < summary.written <= 2_000 * took + 40  # never faster
    assert max(sink.sizes) == 40  # in steps of 20 ms


def test_history_is_written_at_once_and_then_the_rate_is_kept() -> None:
    retailer = Retailer(seed=2, customers=500, rate=1_000, speed=86_400, history=60)
    sink, told = Kept(), list[Summary]()
    summary = write(
        retailer, sink, rate=1_000, seconds=6.0, events=9_000, progress=lambda so_far: told.append(replace(so_far))
    )
    past = max(each.written for each in told if each.days <= 0)
    opened = max(each.seconds for each in told if each.days <= 0)
    assert past > 3_000
    assert summary.written - past <= 1_000 * (summary.seconds - opened) + 20  # never faster


def test_progress_is_told() -> None:
    told: list[int] = []
    write(Retailer(customers=50), Kept(), events=2_500, progress=lambda summary: told.append(summary.written))
    assert told == [1_000, 2_000, 2_500]


def test_a_run_ends_with_its_days() -> None:
    sink = Kept()
    summary = write(Retailer(customers=50, days=3), sink)
    assert summary.written == len(sink.records) > 100
    assert summary.days == 3


def test_an_unreachable_broker_is_reported() -> None:
    quick: dict[str, str | int | bool] = {"message.timeout.ms": 300, "log_level": 0}
    summary = write_kafka(Retailer(customers=50), "127.0.0.1:1", "none", events=50, properties=quick)
    assert summary.failed == summary.written == 50
    with pytest.raises(TouchstreamError, match="truth"):
        KafkaSink("127.0.0.1:1", "none", quick).lines("truth", [b"{}"])


def read_topic(bootstrap: str, topic: str, n: int) -> list[tuple[int, bytes]]:
    """(partition, value) of all records; exactly ``n`` are expected."""
    settings = {"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | {"enable.auto.commit": False})
    consumer.subscribe([topic])
    found: list[tuple[int, bytes]] = []
    while len(found) < n:
        messages = consumer.consume(n, 10.0)
        assert messages, f"{len(found)} of {n} records"
        for message in messages:
            partition, value = message.partition(), message.value()
            assert isinstance(value, bytes)
            assert partition is not None
            found.append((partition, value))
    consumer.close()
    return found


def test_kafka_holds_exactly_what_was_counted(kafka: str) -> None:
    topic = f"{new_config(kafka, 'redis://localhost').prefix}.touchpoints"
    admin = AdminClient({"bootstrap.servers": kafka})  # named: the answers go with the client
    for future in admin.create_topics([NewTopic(topic, 4, 1)]).values():
        future.result()
    retailer = Retailer(seed=9, customers=300)
    summary = write_kafka(retailer, kafka, topic, events=5_000)
    assert (summary.written, summary.failed) == (5_000, 0)
    found = read_topic(kafka, topic, 5_000)
    assert {partition for partition, _ in found} == {0, 1, 2, 3}
    assert recount([value for _, value in found]) == counts(summary)
    expected = Kept()
    write(Retailer(seed=9, customers=300), expected, events=5_000)
    assert sorted(value for _, value in found) == sorted(expected.records)


def test_the_command_writes_records_truth_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, truth = tmp_path / "out", tmp_path / "truth"
    status = main(
        ["--customers", "100", "--events", "3000", "--out", str(out), "--truth", str(truth), "--set", "broken=0"]
    )
    said = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (said["written"], said["broken"]) == (3_000, 0)
    assert len(out.read_bytes().splitlines()) == 3_000
    header, *rest = map(json.loads, truth.read_text().splitlines())
    assert (header["record"], header["seed"], header["customers"]) == ("retailer", 1, 100)
    assert {each["record"] for each in rest} == {"identifier", "customer"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--customers", "0"], "customers"),
        (["--set", "brokn=0.1"], "brokn"),
        (["--set", "broken=lots"], "broken=lots"),
        (["--set", "broken=3"], "rates.broken"),
        (["--truth", "/does/not/exist"], "/does/not/exist"),
    ],
)
def test_the_command_names_what_is_wrong(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--events", "10", "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--events", "10", "--out", "/does/not/exist"]) == 2
    assert "/does/not/exist" in capsys.readouterr().err


def test_an_unnatural_shop_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--customers",
        "10",
        "--rate",
        "1000",
        "--speed",
        "1",
        "--events",
        "10",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    assert "records per customer and day" in capsys.readouterr().err


def test_the_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    for hash_seed in ("1", "2"):
        arguments = ["--events", "5000", "--customers", "100", "--out", str(tmp_path / hash_seed)]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-m", "flows.retailer", *arguments], env=environment, check=True, timeout=60)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_its_counts(number: signal.Signals, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arguments = ["--rate", "2000", "--customers", "500", "--out", str(pipe)]
    command = [sys.executable, "-m", "flows.retailer", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, pipe.open("rb") as records:
        first = records.readline()
        process.send_signal(number)
        lines = [first, *records]
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    summary = json.loads(said)
    assert summary["written"] == len(lines)
    assert recount([line.rstrip(b"\n") for line in lines]) == (
        summary["valid"],
        summary["duplicates"],
        summary["broken"],
    )


def test_file_sink_writes_one_record_a_line(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "lines")
    sink.write(Chunk(0, [b"a", b"b"], [b"", b""], bytearray(2)))
    assert sink.close() == 0
    assert (tmp_path / "lines").read_bytes() == b"a\nb\n"
