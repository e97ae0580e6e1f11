"""How fast the read API answers from Redis: ``python -m benchmarks.readapi [--requests 20000] [--clients 1] [--json]``.

The simulated retailer fills a deployment; then its flows are stopped, and the web service, a process of its own, is
asked about customers at random, with a token, by clients on connections that stay open, each one request after the
other. Milliseconds, as a client sees them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import redis
import yaml

from benchmarks.pipeline import Pipeline, pipeline
from flows.web import tokens
from schemas.config import Config, Dashboard
from schemas.topics import topic_name

#: Requests that are not measured: caches fill.
WARM_UP = 500
PATHS = {
    "customer": "/v1/customers/{}",
    "decisions": "/v1/customers/{}/decisions",
    "plays": "/v1/plays",
    "segments": "/v1/segments",
}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="of each kind (default 20,000)")
    parser.add_argument("--clients", type=int, default=1, help="at a time (default 1)")
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder)) as running:
        _fill(running, options.customers)
        customers = _customers(running.config)
        with _service(running.config, Path(folder)) as (address, token):
            found = {kind: _measure(address, token, path, customers, options) for kind, path in PATHS.items()}
    if options.json:
        print(json.dumps({"customers": len(customers), "clients": options.clients, **found}))
    else:
        print(f"{len(customers)} customers, {options.clients} clients")
        for kind, figures in found.items():
            print(f"{kind:10}", "  ".join(f"{name} {value}" for name, value in figures.items()))
    return 0


def _fill(running: Pipeline, customers: int) -> None:
    """Let so many customers live for a while."""
    running.start(["stitch", "engage"])
    command = [
        sys.executable,
        "-m",
        "flows.retailer",
        "--customers",
        str(customers),
        "--rate",
        "1000",
        "--seconds",
        "20",
    ]
    command += ["--kafka", running.config.kafka.bootstrap, "--topic", topic_name(running.config, "touchpoints")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    for _ in running.await_done(json.loads(done.stdout.splitlines()[-1])["written"]):
        pass
    running.stop()


def _customers(config: Config) -> list[str]:
    with redis.Redis.from_url(config.redis.url) as client:
        keys = [str(key, "ascii") for key in client.scan_iter(f"{{{config.prefix}.*}}c:*", count=5_000)]
    return [name for key in keys if ":" not in (name := key.partition("}c:")[2])]


@contextmanager
def _service(config: Config, folder: Path) -> Iterator[tuple[str, str]]:
    """A web service that refuses nobody for asking often: its address, and a token."""
    free = msgspec.structs.replace(config, dashboard=Dashboard(port=0, requests_per_minute=100_000_000))
    file, log = folder / "service.yaml", folder / "service.log"
    file.write_text(yaml.safe_dump(msgspec.to_builtins(free)))
    token = tokens.create(free, "benchmark", "viewer")
    with log.open("wb") as out:
        command = [sys.executable, "-m", "flows.cli", "dashboard", "-c", str(file)]
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ})
    try:
        while not (found := re.findall(r'"serving","address":"([^"]+)"', log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield found[0], token
    finally:
        process.terminate()
        process.wait(60)


def _measure(
    address: str, token: str, path: str, customers: Sequence[str], options: argparse.Namespace
) -> dict[str, Any]:
    def ask(number: int) -> list[float]:
        chosen, seconds = random.Random(number), []
        connection = http.client.HTTPConnection(address)
        for _ in range(WARM_UP + options.requests // options.clients):
            url, started = path.format(chosen.choice(customers)), time.perf_counter()
            connection.request("GET", url, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.perf_counter() - started)
            if answer.status not in (200, 404, 410):  # who was merged away or erased meanwhile
                raise RuntimeError(f"{answer.status} for {url}")
        return seconds[WARM_UP:]

    started = time.perf_counter()
    with ThreadPoolExecutor(options.clients) as threads:
        took = sorted(each for some in threads.map(ask, range(options.clients)) for each in some)
    rate = round(len(took) / (time.perf_counter() - started))
    quantiles = {f"p{share:g}_ms": round(took[int(len(took) * share / 100)] * 1000, 2) for share in (50, 99, 99.9)}
    return {**quantiles, "max_ms": round(took[-1] * 1000, 2), "per_second": rate}


if __name__ == "__main__":
    sys.exit(main())
