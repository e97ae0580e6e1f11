"""Do a running deployment harm under load, then let the oracle judge.

::

    python -m tests.system.chaos --seed 7 --kills 100 --scenario kills --json --state chaos.jsonl
    python -m tests.system.chaos --seed 7 --kills 1 --scenario all

Each scenario is a function of `tests.system.scenarios`, whose first lines say what is done; `docs/proof.md` lists them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.machine import commit
from flows import admin
from schemas.config import Config, Identity, Kafka, Keys, Redis, Topics
from tests.front import Front
from tests.servers import KAFKA_VERSION, KafkaCluster, KafkaServer, ValkeyServer
from tests.system.oracle import judge
from tests.system.pipeline import Feeder, Pipeline, await_, chaotic
from tests.system.scenarios import SCENARIOS
from tests.system.scenarios.stage import TAKEN, Stage

#: Words of those who leave so as to begin anew, as they should: somebody else has their work, or Kafka does not answer.
LEAVES = ("Fenced", "KafkaException", "Kafka does not answer", "the broker answers, but not this", "Unassigned")


def run(
    config: Config,
    folder: Path,
    scenario: str,
    *,
    seed: int,
    count: int,
    rate: float,
    kafka: KafkaServer | KafkaCluster | None = None,
    valkey: ValkeyServer | None = None,
    seconds: float = 15.0,
    least: int = 0,
) -> dict[str, Any]:
    """One scenario on a fresh deployment; figures, and ``faults``, empty when every promise held. ``kafka`` and
    ``valkey``: the servers of ``config``, if nobody else uses them; ``least``: so many touchpoints are sent, also when
    the harm is done before."""
    plot = SCENARIOS[scenario]
    config = plot.prepare(config)
    with ExitStack() as stack:
        front = None
        if plot.front:
            assert valkey is not None, "a front leads to a Valkey of its own"
            front = stack.enter_context(Front(valkey.port))
            config = msgspec.structs.replace(config, redis=Redis(url=f"redis://127.0.0.1:{front.port}/0"))
        pipeline = stack.enter_context(Pipeline(folder, config, plot.flows))
        for flow in pipeline.flows:
            flow.start()
        for flow in pipeline.flows:
            await_(lambda flow=flow: bool(flow.logged(TAKEN)), f"{flow.name} to start")  # type: ignore[misc]
        feeder = Feeder(config, seed, rate, people=plot.people(count), scattered=plot.scattered)
        if not plot.idle:
            feeder.start()
        try:
            figures = dict(plot.harm(Stage(pipeline, feeder, seed, count, kafka, valkey, front, seconds)))
            faults = [*figures.pop("faults", []), *unharmed(figures, plot.shows)]
            await_(lambda: feeder.sent >= least, "enough load")
        finally:
            feeder.finish()
        if plot.judged:
            pipeline.rest(feeder.sent)
            verdict = judge(pipeline.config, pipeline.redis)
            figures |= verdict.figures
            faults += verdict.faults
    faults += [f"ended by itself: {each}" for each in pipeline.ends if not any(words in each for words in LEAVES)]
    options = {"count": count, "seconds": seconds, "rate": rate, "rules": config.identity.rules}
    return {
        "scenario": scenario, "seed": seed, "options": options, **figures, "ends": pipeline.ends, "faults": faults,
    }  # fmt: skip


def unharmed(figures: Mapping[str, Any], name: str) -> list[str]:
    """Whether the figure that shows the harm is 0, or is somewhere."""
    shown = figures[name] if name else 1
    each = shown.values() if isinstance(shown, dict) else [shown]
    return [] if min([*each], default=0) else [f"no harm was done: {name} is {shown}"]


def small(
    bootstrap: str,
    url: str,
    rules: Literal["union", "retail"] = "union",
    prefix: str = "ts",
    replication: int = 1,
) -> Config:
    """A deployment of 8 shards and 4 source partitions. Plain union makes the most merges, and the oracle computes it
    by itself; under the rules of retail identifiers move as well."""
    keys = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
    topics = Topics(source_partitions=4, shards=8, replication=replication)
    identity = Identity(rules=rules)
    return Config(
        keys=keys,
        prefix=prefix,
        kafka=Kafka(bootstrap=bootstrap),
        redis=Redis(url=url),
        topics=topics,
        identity=identity,
    )


def record(state: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Add a result to the file ``state``; the sum of all that it holds."""
    with state.open("a") as file:
        file.write(json.dumps(result) + "\n")
    return summed([json.loads(line) for line in state.read_text().splitlines()])


def summed(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Kills, hits of failpoints and the account of many runs, the seeds of each scenario, and all faults."""
    counts = Counter[str]()
    kills, hits = Counter[str](), Counter[str]()
    seeds: dict[str, list[int]] = {}
    for result in results:
        seeds.setdefault(result["scenario"], []).append(result["seed"])
        kills.update(result.get("kills", {}))
        hits.update(result.get("hits", {}))
        counts.update({name: result.get(name, 0) for name in ("consumed", "applied", "identity_merged", "fenced")})
        counts["triggers"] += sum(result.get("triggers", {}).values())
    faults = [f"{each['scenario']} {each['seed']}: {fault}" for each in results for fault in each["faults"]]
    return {
        "runs": len(results),
        "kills": kills.total(),
        "kills_of": dict(kills),
        "at_failpoints": hits.total(),
        "hits": dict(sorted(hits.items())),
        **counts,
        "seeds": seeds,
        "faults": faults,
    }


def main() -> int:
    """The command; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20, help="how often the harm is done: kills, freezes, joins, ...")
    parser.add_argument("--scenario", nargs="+", choices=[*SCENARIOS, "all"], default=["kills"])
    parser.add_argument("--seconds", type=float, default=15.0, help="how long servers are away or stand still")
    parser.add_argument("--rate", type=float, default=200.0, help="touchpoints a second")
    parser.add_argument("--rules", choices=("union", "retail"), default="union", help="the identity policy")
    parser.add_argument("--folder", type=Path, help="keep servers' data and logs here")
    parser.add_argument("--state", type=Path, help="keep every result in this file; the sum of all is told at the end")
    parser.add_argument("--json", action="store_true", help="each result as one line of JSON")
    options = parser.parse_args()
    names = list(SCENARIOS) if "all" in options.scenario else options.scenario
    results = []
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos")))
        valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        for cluster, group in groupby(sorted(names, key=_cluster), key=_cluster):
            kind = KafkaCluster if cluster else KafkaServer
            with kind(folder / "kafka") as kafka:
                for name in group:
                    prefix = f"{name}-{options.seed}"
                    config = chaotic(small(kafka.bootstrap, valkey.url, options.rules, prefix, 3 if cluster else 1))
                    admin.create(config)
                    try:
                        result = run(
                            config,
                            folder / config.prefix,
                            name,
                            seed=options.seed,
                            count=options.kills,
                            rate=options.rate,
                            kafka=kafka,
                            valkey=valkey,
                            seconds=options.seconds,
                        )
                    except Exception as error:
                        # It did not come to its end: that is no reason to keep silent about it.
                        traceback.print_exc()
                        result = {"scenario": name, "seed": options.seed, "faults": [repr(error)]}
                    result |= {"kafka": KAFKA_VERSION, "commit": commit()}
                    results.append(result)
                    show(result, line=options.json)
                    if options.state:
                        total = record(options.state, result)
    if options.state:
        show(total, line=options.json)
    return 1 if any(result["faults"] for result in results) else 0


def _cluster(name: str) -> bool:
    return SCENARIOS[name].cluster


def show(result: Mapping[str, Any], *, line: bool) -> None:
    """Print a result."""
    text = json.dumps(result)
    print(text if line else msgspec.json.format(text), flush=True)


if __name__ == "__main__":
    sys.exit(main())
