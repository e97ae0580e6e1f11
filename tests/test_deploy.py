"""What is in deploy/ and the Dockerfile, as far as it can be judged without an engine or a cluster: by published
schemas (Compose specification; Kubernetes 1.37, strict), and by what the product itself makes of it."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from flows.cli import run as run_command
from flows.health import HealthServer, Report
from flows.settings import load
from schemas.config import Config, Limits, Metrics
from tests.image import ROOT, context, instructions

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
FLOWS = set(next(each for each in run_command.params if each.name == "flow").type.choices) - {"all"}  # type: ignore[attr-defined]
PROCESSES = FLOWS | {"dashboard"}
DOCKERFILE = list(instructions((ROOT / "Dockerfile").read_text()))
DRAIN = Limits().drain_seconds


def published(name: str) -> Any:
    return json.loads(gzip.decompress((ROOT / "tests/data" / name).read_bytes()))


def resources() -> Iterator[dict[str, Any]]:
    """Everything that Kubernetes is given."""
    for path in sorted(DEPLOY.glob("kubernetes/**/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document.get("kind") == "List":
                yield from document["items"]
            elif "kind" in document and document["kind"] != "Kustomization":
                yield document


RESOURCES = list(resources())
PODS = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in RESOURCES if "template" in each["spec"]}


def test_compose_is_as_specified() -> None:
    validator = jsonschema_rs.validator_for(published("compose-spec.json.gz"))
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    mounted = [each.split(":")[0] for service in COMPOSE["services"].values() for each in service.get("volumes", ())]
    named = {each for each in mounted if not each.startswith(".")}
    assert named == set(COMPOSE["volumes"])


def test_resources_are_as_kubernetes_takes_them() -> None:
    schema = published("kubernetes-1.37.json.gz")
    for each in RESOURCES:
        if each["kind"] == "Service":  # see below
            continue
        kind = schema["kinds"][f"{each['apiVersion']}/{each['kind']}"]
        validator = jsonschema_rs.validator_for({**kind, "definitions": schema["definitions"]})
        assert [error.message for error in validator.iter_errors(each)] == [], each["metadata"]["name"]


def test_the_web_service_is_reached_by_a_name() -> None:
    (service,) = [each for each in RESOURCES if each["kind"] == "Service"]
    (pod,) = [
        each["spec"]["template"]
        for each in RESOURCES
        if each["metadata"] == service["metadata"] and "template" in each["spec"]
    ]
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {each["name"] for each in pod["spec"]["containers"][0]["ports"]}


def test_every_process_is_deployed_and_may_go_one_at_a_time() -> None:
    commands = {name: each.get("command", [""])[0] for name, each in COMPOSE["services"].items()}
    assert {name for name, command in commands.items() if command in ("run", "dashboard")} == PROCESSES
    budgets = {each["metadata"]["name"] for each in RESOURCES if each["kind"] == "PodDisruptionBudget"}
    deployments = {each["metadata"]["name"] for each in RESOURCES if each["kind"] == "Deployment"}
    assert budgets == deployments == {f"touchstream-{name}" for name in PROCESSES}
    scraped = yaml.safe_load((DEPLOY / "prometheus/compose.yml").read_text())["scrape_configs"][0]["dns_sd_configs"][0]
    assert set(scraped["names"]) == PROCESSES


@pytest.mark.parametrize("name", PODS)
def test_pods_run_without_rights_on_a_file_system_that_cannot_be_written(name: str) -> None:
    pod = PODS[name]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not context["allowPrivilegeEscalation"]
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    assert {"requests", "limits"} <= container["resources"].keys()
    if container["args"][0] in ("run", "dashboard"):
        assert pod["terminationGracePeriodSeconds"] > DRAIN
        paths = {
            each: container[each]["httpGet"]["path"] for each in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


@pytest.mark.parametrize("name", [*PROCESSES, "setup"])
def test_services_of_compose_run_without_rights_too(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    if name in PROCESSES:
        assert int(service["stop_grace_period"].rstrip("s")) > DRAIN


@pytest.mark.parametrize("name", PODS)
def test_the_environment_of_pods_is_a_configuration(name: str, tmp_path: Path) -> None:
    given = {each["name"]: each["value"] for each in PODS[name]["containers"][0]["env"]}
    folder = DEPLOY / "kubernetes" / ("setup" if name.endswith("setup") else "")
    text = (folder / "touchstream.yaml").read_text().replace("  ca_file: /run/secrets/ca/ca.crt\n", "")
    (tmp_path / "touchstream.yaml").write_text(text)
    config = load(tmp_path / "touchstream.yaml", secrets_in(tmp_path, given))
    assert config.kafka.user == f"ts-{name.removeprefix('touchstream-')}"
    assert config.kafka.sasl == "SCRAM-SHA-512"
    assert config.redis.url.startswith("rediss://")


def test_the_environment_of_compose_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, secrets_in(tmp_path, COMPOSE["services"]["engage"]["environment"]))
    assert config == Config(keys=config.keys, kafka=config.kafka, redis=config.redis)
    assert (config.kafka.bootstrap, config.redis.url) == ("kafka:9092", "redis://valkey:6379/0")


def secrets_in(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment with a file for each secret it names, a key where a key must be."""
    moved = {}
    for number, (name, value) in enumerate(environment.items()):
        moved[name] = value
        if name.endswith("_FILE"):
            moved[name] = str(folder / name)
            (folder / name).write_text(f"{number:064x}\n")
    return moved


def test_the_base_is_pinned_and_the_image_runs_as_nobody() -> None:
    bases = [rest.split()[0] for word, rest in DOCKERFILE if word == "FROM"]
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.12\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", bases[0])
    assert dict(DOCKERFILE)["USER"] == "10001:10001"
    images = [each["image"] for each in COMPOSE["services"].values() if "build" not in each]
    assert [image for image in images if not re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image)] == []


def test_the_image_gets_every_package(tmp_path: Path) -> None:
    context(tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [name for name in packages if not any((tmp_path / name).iterdir())] == []
    assert not (tmp_path / "tests").exists()


def test_the_health_check_tells_a_hung_process_from_a_good_one() -> None:
    _, _, command = dict(DOCKERFILE)["HEALTHCHECK"].partition("CMD ")
    called = [sys.executable, *json.loads(command)[1:]]
    for good in (True, False):
        server = HealthServer(Metrics(port=0), partial(Report, good, {}), partial(Report, False, {}))
        port = server.address.rpartition(":")[2]
        done = subprocess.run(called, env={"TOUCHSTREAM_METRICS__PORT": port}, capture_output=True, timeout=30)
        server.stop()
        assert (done.returncode == 0) == good


def test_no_secret_stands_in_a_file() -> None:
    for path in DEPLOY.rglob("*.y*ml"):
        assert not re.search(r"[0-9a-f]{32}", path.read_text()), path
