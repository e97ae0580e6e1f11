"""What so many viewers of the live screens cost: CPU of the web service beside that of the flows.

::

    python -m benchmarks.viewers --viewers 200 --seconds 20 --json

Real flows work off a steady rate while nobody looks, and then while so many look at the overview over web sockets, as
browsers do. How far behind figures are is measured at each viewer, from the broker's time of a record on.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

import click
import msgspec
import orjson
import psutil
from websockets.asyncio.client import connect

from flows import admin
from schemas.config import Dashboard
from tests import servers
from tests.conftest import new_config
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic
from tests.system.web import Service


async def look(url: str, viewers: int, seconds: float) -> list[int]:
    """Let so many look for so long; how far behind (ms) each new figure was at each of them."""
    delays: list[int] = []

    async def viewer() -> None:
        told = 0
        async with connect(url, max_size=None) as socket:
            async with asyncio.timeout(seconds):
                async for message in socket:
                    standing = orjson.loads(message)["standing"]
                    if told and standing["told"] != told:
                        delays.append(int(time.time() * 1000) - standing["told"])
                    told = standing["told"]

    found = await asyncio.gather(*[viewer() for _ in range(viewers)], return_exceptions=True)
    if faults := [each for each in found if not isinstance(each, TimeoutError)]:
        raise RuntimeError(f"{len(faults)} viewers were dropped: {faults[0]!r}")
    return delays


def cpu(pids: dict[str, int]) -> dict[str, float]:
    """CPU seconds that processes have taken so far."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
    return {name: each.user + each.system for name, each in times.items()}


def share(before: dict[str, float], after: dict[str, float], seconds: float) -> dict[str, float]:
    """Of one core, in per cent."""
    return {name: round(100 * (after[name] - before[name]) / seconds, 1) for name in before}


def measure(viewers: int, seconds: float, rate: float) -> dict[str, Any]:
    """Both halves."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.kafka_server(Path(folder, "kafka")) as kafka,
        servers.redis_server(Path(folder, "valkey")) as url,
    ):
        config = msgspec.structs.replace(
            chaotic(new_config(kafka, url)), dashboard=Dashboard(requests_per_minute=1_000_000)
        )
        admin.create(config)
        with (
            Pipeline(Path(folder, "flows"), config, ("stitch", "engage", "kpis")) as pipeline,
            Service(Path(folder, "service"), config) as service,
        ):
            for flow in pipeline.flows:
                flow.start()
            feeder = Feeder(config, seed=1, rate=rate, speed=1.0)
            feeder.start()
            try:
                await_(lambda: pipeline.happened(round(2 * rate)), "the flows to be at work")
                return _compare(pipeline, service, viewers, seconds)
            finally:
                feeder.finish()


def _compare(pipeline: Pipeline, service: Service, viewers: int, seconds: float) -> dict[str, Any]:
    assert service.process is not None
    pids = {flow.name: flow.process.pid for flow in pipeline.flows if flow.process} | {"dashboard": service.process.pid}
    before = cpu(pids)
    time.sleep(seconds)
    alone = cpu(pids)
    delays = asyncio.run(look(f"ws://{service.address}/live/overview", viewers, seconds))
    watched = cpu(pids)
    cuts = quantiles(delays, n=100)
    return {
        "viewers": viewers,
        "seconds": seconds,
        "cpu_percent_alone": share(before, alone, seconds),
        "cpu_percent_watched": share(alone, watched, seconds),
        "behind_ms": {"median": cuts[49], "p99": cuts[98], "figures": len(delays)},
        "memory_mb": round(psutil.Process(pids["dashboard"]).memory_info().rss / 1e6),
    }


@click.command()
@click.option("--viewers", default=200, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="Of each half.")
@click.option("--rate", default=100.0, show_default=True, help="Touchpoints a second.")
@click.option("--json", "as_json", is_flag=True)
def main(viewers: int, seconds: float, rate: float, as_json: bool) -> None:
    """Measure what viewers cost."""
    found = measure(viewers, seconds, rate)
    if as_json:
        click.echo(orjson.dumps(found).decode())
        return
    for name in found["cpu_percent_alone"]:
        alone, watched = found["cpu_percent_alone"][name], found["cpu_percent_watched"][name]
        click.echo(f"{name:12} {alone:6.1f} % of a core alone, {watched:6.1f} % with {viewers} viewers")
    behind = found["behind_ms"]
    click.echo(f"figures are {behind['median']:.0f} ms behind in the median, {behind['p99']:.0f} ms at p99")


if __name__ == "__main__":
    main()
