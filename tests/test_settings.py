"""Loading the configuration: sources, precedence, and every fault at once."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from flows.settings import load
from flows.settings_help import DESCRIPTIONS, example, json_schema
from schemas.config import Config, Section
from schemas.errors import ConfigError

INDEX, DEAD, MASTER, OTHER = (digit * 64 for digit in "abcd")
KEYS = {"index": INDEX, "dead_letters": DEAD, "master": {"first": MASTER}}
DOCS = Path(__file__).parent.parent / "docs" / "configuration.md"


def write(tmp_path: Path, **sections: object) -> Path:
    path = tmp_path / "touchstream.yaml"
    path.write_text(yaml.safe_dump({"keys": KEYS, **sections}, sort_keys=False))
    return path


def faults(tmp_path: Path, env: dict[str, str] | None = None, **sections: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, **sections), env or {})
    return caught.value.faults


def test_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path), {})
    assert config == msgspec.convert({"keys": KEYS}, Config)


def test_the_file_is_named_by_the_environment_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, prefix="shop")
    assert load(env={"TOUCHSTREAM_CONFIG": str(path)}).prefix == "shop"
    monkeypatch.chdir(tmp_path)
    assert load(env={}).prefix == "shop"


def test_the_environment_overrides_and_nests(tmp_path: Path) -> None:
    path = write(tmp_path, kafka={"bootstrap": "a:1"}, topics={"shards": 4})
    config = load(
        path,
        {
            "TOUCHSTREAM_KAFKA__BOOTSTRAP": "b:2",
            "TOUCHSTREAM_KAFKA__PROPERTIES__SASL_PASSWORD": "0123",
            "TOUCHSTREAM_TOPICS__SOURCES": "[web, tills]",
            "TOUCHSTREAM_CHURN__HIGH": "0.9",
            "TOUCHSTREAM_METRICS__PORT": "",
            "TOUCHSTREAM_PREFIX": "007",
            "TOUCHSTREAM_KEYS__MASTER__SECOND": OTHER,
            "TOUCHSTREAM_LOG": "{level: debug}",
            "TOUCHSTREAM_LOG__FORMAT": "text",
        },
    )
    assert config.kafka.bootstrap == "b:2"
    assert config.kafka.properties == {"sasl.password": "0123"}
    assert config.topics.sources == ("web", "tills")
    assert config.topics.shards == 4
    assert config.churn.high == 0.9
    assert config.metrics.port is None
    assert config.prefix == "007"
    assert list(config.keys.master.items()) == [("first", MASTER), ("second", OTHER)]
    assert (config.log.level, config.log.format) == ("debug", "text")


def test_everything_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"INDEX": INDEX, "DEAD_LETTERS": DEAD, "MASTER__K1": MASTER}
    assert load(env={f"TOUCHSTREAM_KEYS__{name}": value for name, value in names.items()}).keys.index == INDEX


def test_keys_come_from_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{OTHER}\n")
    path = tmp_path / "c.yaml"
    path.write_text(f"keys: {{index_file: secret, dead_letters: {DEAD}, master: {{k1: {MASTER}}}}}\n")
    assert load(path, {}).keys.index == OTHER
    assert load(path, {"TOUCHSTREAM_KEYS__INDEX": INDEX}).keys.index == INDEX
    master = {"TOUCHSTREAM_KEYS__MASTER__K2_FILE": str(tmp_path / "secret"), "TOUCHSTREAM_KEYS__INDEX": INDEX}
    assert load(path, master).keys.master == {"k1": MASTER, "k2": OTHER}


def test_a_missing_file_for_a_key_is_a_fault(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, redis={"url_file": "nowhere"})
    assert fault == "redis.url_file: the file 'nowhere' cannot be read: No such file or directory"
    [fault] = faults(tmp_path, redis={"url_file": "x", "url": "redis://a"})
    assert "redis.url is given as well" in fault


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        {"TOUCHSTREAM_LIMITS__BATCH": "many", "TOUCHSTREAM_KAFAK__BOOTSTRAP": "x", "TOUCHSTREAM_PREFX": "y"},
        prefix="No Good",
        clock="wall",
        kafka={"session_timeout_ms": 10, "bootstrp": "b"},
        redis=5,
        topics={"shards": 0, "sources": []},
        bootstrap="b:1",
    )
    assert sorted(found) == sorted(
        [
            "prefix: is not allowed: 'No Good'; "
            "allowed: up to 31 lower-case letters, digits and hyphens, no hyphen first",
            "clock: is not allowed: 'wall'; allowed: log or process",
            "kafka.session_timeout_ms: is not allowed: 10; allowed: a whole number from 1000 to 300000",
            "kafka.bootstrp: is not a key; did you mean kafka.bootstrap?",
            "redis: must hold keys and values: 5",
            "topics.shards: is not allowed: 0; allowed: a whole number from 1 to 4096",
            "topics.sources: is not allowed: []; allowed: a list of text, not empty",
            "bootstrap: is not a key; did you mean kafka.bootstrap?",
            "limits.batch: is not allowed: 'many' (from TOUCHSTREAM_LIMITS__BATCH); "
            "allowed: a whole number from 1 to 10000",
            "kafak: is not a key; did you mean kafka?",
            "prefx: is not a key (from TOUCHSTREAM_PREFX); did you mean prefix?",
        ]
    )


def test_missing_keys_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("keys:\n  master: {}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.faults == [
        "keys.master: must have at least one entry",
        "keys.index: is missing; allowed: 64 lower-case hexadecimal digits, in quotes",
        "keys.dead_letters: is missing; allowed: 64 lower-case hexadecimal digits, in quotes",
    ]


@pytest.mark.parametrize(
    ("section", "values", "fault"),
    [
        ("churn", {"medium": 0.8, "high": 0.8}, "churn.medium: 0.8 is not allowed; allowed: below churn.high"),
        ("churn", {"hysteresis": 0.4}, "churn.hysteresis: 0.4 is not allowed"),
        (
            "churn",
            {"keys": ["city"]},
            "churn.keys: 'city' is not allowed; allowed: country, language, tier or segment:",
        ),
        ("churn", {"keys": ["segment:"]}, "churn.keys: 'segment:' is not allowed"),
        ("churn", {"challengers": {"served": {}}}, "churn.challengers: 'served' is not allowed; allowed: up to 48"),
        ("churn", {"challengers": {"f": {"features": ["shoe"]}}}, "churn.challengers.f.features: 'shoe' is not known"),
        ("churn", {"challengers": {"f": {"rate": 0}}}, "churn.challengers"),
        ("churn", {"medium": float("nan")}, "churn.medium: is not allowed: nan; allowed: a number from 0 to 1"),
        ("topics", {"sources": ["triggers"]}, "topics.sources: 'triggers' is a topic touchstream writes"),
        ("topics", {"sources": ["a", "a"]}, "topics.sources: 'a' is given twice"),
        ("topics", {"sources": ["a b"]}, "topics.sources: 'a b' is not a topic name"),
        ("kafka", {"properties": {"acks": "1"}}, "kafka.properties.acks: is set by touchstream"),
        ("redis", {"timeout_seconds": 0}, "redis.timeout_seconds: is not allowed: 0; allowed: a number above 0"),
        ("identity", {"priority": ["member", "member"]}, "identity.priority: 'member' is given twice"),
        ("identity", {"namespaces": {"Phone": {}}}, "identity.namespaces: 'Phone' matches no identifier"),
        ("identity", {"namespaces": {"phone": {"hub": {"Member": 3}}}}, "identity.namespaces: 'Member' matches no"),
        (
            "identity",
            {"namespaces": {"phone": {"limit": 0}}},
            "identity.namespaces.phone: is not allowed: {'limit': 0}; allowed: limit: a whole number from 1",
        ),
        (
            "identity",
            {"blocked_patterns": ["device:("]},
            "identity.blocked_patterns: 'device:(' is no regular expression",
        ),
        ("identity", {"blocked_patterns": ["x"]}, "identity.blocked_patterns: 'x' is not allowed; allowed: namespace:"),
        ("identity", {"own_domains": ["*"]}, "identity.own_domains: '*' is not a domain"),
        ("identity", {"email_tags": ["Gmail.com"]}, "identity.email_tags: 'Gmail.com' is not a domain"),
        ("metrics", {"port": 70_000}, "metrics.port: is not allowed: 70000; allowed: "),
    ],
)
def test_values_that_do_not_go_together(tmp_path: Path, section: str, values: object, fault: str) -> None:
    [found] = faults(tmp_path, {}, **{section: values})
    assert found.startswith(fault)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    secret = "sentinel-7"
    found = faults(
        tmp_path,
        {"TOUCHSTREAM_KEYS__DEAD_LETTERS": secret},
        keys={"index": secret, "master": {"a": secret}},
        redis={"url": f"http://:{secret}@host"},
        kafka={"properties": {"sasl.password": [secret]}},
    )
    assert len(found) == 5
    assert secret not in "\n".join(found)
    [same] = faults(tmp_path, keys={**KEYS, "dead_letters": INDEX})
    assert same == "keys.dead_letters: is the same key as keys.index; each must be a random key of its own"


def test_files_that_are_not_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text, expected in [
        ("keys: [", "is not YAML: line 1"),
        (f"prefix: a\nprefix: {INDEX}\n", "line 2, column 1: key 'prefix' is given twice"),
        ("- a\n", "must hold keys and values"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert expected in caught.value.faults[0]
        assert INDEX not in str(caught.value)
    with pytest.raises(ConfigError, match="touchstream config init"):
        load(tmp_path / "none.yaml", {})


def test_variables_of_cluster_managers_and_failpoints_are_left_alone(tmp_path: Path) -> None:
    env = {"TOUCHSTREAM_SERVICE_HOST": "10.0.0.1", "TOUCHSTREAM_PORT": "tcp://10.0.0.1:1", "TOUCHSTREAM_FAILPOINT": "a"}
    load(write(tmp_path), env)


def test_the_example_is_the_defaults_with_fresh_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(example())
    config = load(path, {})
    assert config == Config(keys=config.keys)
    assert config.keys != load(_rewritten(path), {}).keys
    path.write_text(_uncommented(example()))
    assert "\n  bootstrap: localhost:9092\n" in path.read_text()
    assert load(path, {}) == Config(keys=load(path, {}).keys)


def _rewritten(path: Path) -> Path:
    other = path.with_name("other.yaml")
    other.write_text(example())
    return other


def _uncommented(text: str) -> str:
    names = "|".join({name.rpartition(".")[2] for name in DESCRIPTIONS})
    return re.sub(rf"^( *)# ((?:{names}):(?: .*)?)$", r"\1\2", text, flags=re.MULTILINE)


def test_every_key_is_described_in_schema_and_docs() -> None:
    keys = set()
    for field in msgspec.structs.fields(Config):
        keys.add(field.name)
        if isinstance(field.type, type) and issubclass(field.type, Section):
            keys |= {f"{field.name}.{each}" for each in field.type.__struct_fields__}
    assert keys == set(DESCRIPTIONS)
    assert [key for key in DESCRIPTIONS if "." in key and f"`{key}`" not in DOCS.read_text()] == []
    schema = json_schema()
    assert schema["$defs"]["Kafka"]["properties"]["bootstrap"]["description"] == DESCRIPTIONS["kafka.bootstrap"]
