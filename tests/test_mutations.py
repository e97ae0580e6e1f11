"""The planted mutations can be planted: what they replace is there, and so are the tests that must notice."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation, judge, main, occurrences


def test_there_are_enough_of_them_and_no_two_are_one() -> None:
    assert len(MUTATIONS) >= 8
    assert [name for name, count in Counter(each.name for each in MUTATIONS).items() if count > 1] == []
    assert len({(each.file, each.old, each.new) for each in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_it_can_be_planted_and_the_test_that_must_notice_exists(mutation: Mutation) -> None:
    assert occurrences(mutation) == 1
    assert mutation.old != mutation.new
    file, _, test = mutation.test.partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_what_cannot_be_asked_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nothing of the kind"])
    assert "no such mutation: nothing of the kind" in capsys.readouterr().err
    monkeypatch.setattr("tests.mutations.MUTATIONS", [MUTATIONS[0]._replace(name="stale", old="of no file")])
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "the old text does not occur exactly once: stale" in capsys.readouterr().err
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.startswith("stale  operators/evidence.py  tests/test_evidence.py::")


@pytest.mark.parametrize(
    ("content", "outcome", "by"),
    [
        ("def test_it(): assert False", "noticed", "test_one.py::test_it"),
        ("def test_it(): pass", "survived", "1 passed"),
        ("import nothing", "broken", "1 error"),
    ],
)
def test_only_a_test_that_fails_has_noticed(tmp_path: Path, content: str, outcome: str, by: str) -> None:
    (tmp_path / "test_one.py").write_text(content)
    verdict = judge(tmp_path, ["test_one.py"])
    assert verdict.outcome == outcome
    assert by in verdict.by
