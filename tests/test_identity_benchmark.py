"""The figures of `benchmarks.identity`, on hand-made truths."""

from __future__ import annotations

from benchmarks.identity import Truth, score

A1, A2, B1, B2, KIOSK = b"a1", b"a2", b"b1", b"b2", b"k"
TRUTH = Truth({A1: "ann", A2: "ann", B1: "bob", B2: "bob"}, {KIOSK: "kiosk"})
LINKED = {A1: b"x", A2: b"x", B1: b"y", B2: b"z"}


def test_what_is_found_as_it_is() -> None:
    result = score(TRUTH, {A1: "1", A2: "1", B1: "2", B2: "3", KIOSK: "4"}, LINKED, set())
    assert (result["precision"], result["recall"], result["false_merges"]) == (1.0, 1.0, 0)
    assert result["common_identifiers"] == {"kiosk": "1 of 1 with nobody"}


def test_two_people_taken_for_one_and_one_for_two() -> None:
    result = score(TRUTH, {A1: "1", A2: "2", B1: "1", B2: "3", KIOSK: "1"}, LINKED, set())
    assert (result["precision"], result["recall"], result["false_merges"]) == (0.0, 0.0, 1)
    assert result["common_identifiers"] == {"kiosk": "0 of 1 with nobody"}


def test_who_cannot_be_told_apart_is_no_false_merge() -> None:
    result = score(TRUTH, {A1: "1", A2: "1", B1: "1"}, LINKED, {"bob"})
    assert (result["false_merges"], result["ambiguous_merges"], result["ambiguous_share"]) == (0, 1, 0.5)
    assert result["precision"] == round(1 / 3, 6)
