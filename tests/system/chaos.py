"""Kill, freeze, join, leave and roll back under load, then let the oracle judge.

::

    python -m tests.system.chaos --seed 7 --kills 100 --scenario kills --json

``kills``: processes die by SIGKILL at named failpoints and at random moments and are restarted at once.
``zombie``: a process is frozen past its session, another takes over, then it wakes up. ``rebalance``: one more
process of engage joins and leaves. ``rollback``: Redis is killed and loses at least its last second.
``input``: the corpus of bad input goes through, see `tests.system.bad_input`.
``scattered``: four processes stitch, each customer's touchpoints lie in all partitions and who is who keeps changing;
processes are killed and Redis loses its last second, in turns. Meant for ``--rules retail``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec

from flows import admin
from schemas.config import Config, Identity, Kafka, Keys, Redis, Topics
from tests.servers import KafkaServer, ValkeyServer
from tests.system import bad_input
from tests.system.oracle import judge
from tests.system.pipeline import FLOWS, Feeder, Pipeline, await_, chaotic
from tests.system.scenarios import kills, rebalance, rollback, scattered, zombie

SCENARIOS = ("kills", "zombie", "rebalance", "rollback", "scattered", "input")
SCATTERED_FLOWS = ("stitch",) * 4 + ("engage",) * 2


def run(
    config: Config,
    folder: Path,
    scenario: str,
    *,
    seed: int,
    count: int,
    rate: float,
    valkey: ValkeyServer | None = None,
) -> dict[str, Any]:
    """One scenario on a fresh deployment; figures, and ``faults``, empty when every promise held."""
    if scenario == "input":
        return {"scenario": scenario, "seed": seed, **bad_input.run(config, folder)}
    with Pipeline(folder, config, SCATTERED_FLOWS if scenario == "scattered" else FLOWS) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        for flow in pipeline.flows:
            await_(lambda flow=flow: bool(flow.logged("partitions taken over")), f"{flow.name} to start")  # type: ignore[misc]
        feeder = Feeder(config, seed, rate, scattered=scenario == "scattered")
        feeder.start()
        try:
            if scenario == "kills":
                figures = kills(pipeline, seed, count)
            elif scenario == "zombie":
                figures = zombie(pipeline, count)
            elif scenario == "rebalance":
                figures = rebalance(pipeline, count)
            else:
                assert valkey is not None, "Redis cannot lose anything unless it is a Valkey of its own"
                if scenario == "rollback":
                    figures = rollback(pipeline, valkey, count)
                else:
                    figures = scattered(pipeline, valkey, seed, count)
        finally:
            feeder.finish()
        pipeline.rest(feeder.sent)
        verdict = judge(config, pipeline.redis)
    return {"scenario": scenario, "seed": seed, **figures, **verdict.figures, "faults": verdict.faults}


def small(bootstrap: str, url: str, rules: Literal["union", "retail"] = "union") -> Config:
    """A deployment of 8 shards and 4 source partitions. Plain union makes the most merges, and the oracle computes it
    by itself; under the rules of retail identifiers move as well."""
    keys = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
    topics = Topics(source_partitions=4, shards=8)
    identity = Identity(rules=rules)
    return Config(keys=keys, kafka=Kafka(bootstrap=bootstrap), redis=Redis(url=url), topics=topics, identity=identity)


def main() -> int:
    """The command; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20, help="kills, freezes, joins or rollbacks")
    parser.add_argument("--scenario", choices=SCENARIOS, default="kills")
    parser.add_argument("--rate", type=float, default=200.0, help="touchpoints a second")
    parser.add_argument("--rules", choices=("union", "retail"), default="union", help="the identity policy")
    parser.add_argument("--folder", type=Path, help="keep servers' data and logs here")
    parser.add_argument("--json", action="store_true", help="the result as one line of JSON")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos")))
        kafka = stack.enter_context(KafkaServer(folder / "kafka"))
        valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        config = chaotic(small(kafka.bootstrap, valkey.url, options.rules))
        admin.create(config)
        result = run(
            config,
            folder / "flows",
            options.scenario,
            seed=options.seed,
            count=options.kills,
            rate=options.rate,
            valkey=valkey,
        )
    print(json.dumps(result) if options.json else msgspec.json.format(json.dumps(result)))
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
