"""Planted mutations: each breaks a promise of identity or plays in a copy of the tree; the test named for it must fail.

::

    python -m tests.mutations                  # all of them
    python -m tests.mutations NAME ... --json
    python -m tests.mutations --list

Whatever is named runs with nothing changed first: a test that fails anyway would notice nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).parent.parent
#: Longer than any of these tests takes, shrinking of a failure included (seconds).
PATIENCE = 900


class Mutation(NamedTuple):
    """``name``: the promise that is broken when ``new`` stands in ``file`` for ``old``, which occurs there once.
    ``test``: a pytest node that must fail then."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = [
    # -- evidence and erasure
    Mutation(
        "facts-keep-earliest-first-and-latest-last", "operators/evidence.py",
        "(min(known[0], span[0]), max(known[1], span[1]))", "(max(known[0], span[0]), min(known[1], span[1]))",
        "tests/test_evidence.py::test_a_fact_keeps_its_earliest_first_and_its_latest_last",
    ),
    Mutation(
        "erasing-includes-its-moment", "operators/graph.py",
        "last > time and kind != ERASE", "last >= time and kind != ERASE",
        "tests/test_partition.py::test_who_comes_back_after_an_erasure_is_someone_new",
    ),
    Mutation(
        "survivors-begin-at-the-erasure", "operators/graph.py",
        "left[fact] = time, last", "left[fact] = max(first, time), last",
        "tests/test_partition.py::test_what_survives_an_erasure_begins_with_it",
    ),
    Mutation(
        "rounding-forgets-nobody-seen-after-an-erasure", "operators/evidence.py",
        "time if time > late else last", "time",
        "tests/test_evidence.py::test_what_comes_after_an_erasure_on_its_day_is_not_rounded_down_to_before_it",
    ),
    Mutation(
        "late-touchpoints-are-dropped", "operators/resolving.py",
        "if erased >= visit.sighting.first:", "if erased < 0:",
        "tests/system/test_identity_commands.py::test_what_comes_late_is_dropped_and_what_is_new_starts_afresh",
    ),
    Mutation(
        "late-touchpoints-are-not-taken-for-known", "operators/clusters.py",
        "if sighting.first <= max([", "if sighting.first < max([",
        "tests/system/test_identity_commands.py::test_what_comes_late_is_dropped_and_what_is_new_starts_afresh",
    ),
    # -- the cheap test on stored clusters
    Mutation(
        "earlier-links-are-not-cheap", "operators/clusters.py",
        "            if span is None or first < span[0]:\n                return None\n            if end",
        "            if span is None:\n                return None\n            if end",
        "tests/test_stitching.py::test_what_may_change_a_stored_cluster_is_not_cheap",
    ),
    Mutation(
        "logins-that-change-hands-are-not-cheap", "operators/clusters.py",
        "if decides and owners[i]", "if not decides and owners[i]",
        "tests/test_stitching.py::test_what_may_change_a_stored_cluster_is_not_cheap",
    ),
    Mutation(
        "later-logouts-are-not-cheap", "operators/clusters.py",
        "if span is None or time > span[1]:", "if span is None:",
        "tests/system/test_stitching.py::test_each_logout_parts_who_has_logged_in_again",
    ),
    # -- limits, owners, splits, hubs
    Mutation(
        "limits-are-kept", "operators/rules.py",
        "(FULL // 2 - limit)", "(FULL // 2 - limit - 1)",
        "tests/test_partition.py::test_limits_are_never_broken_and_customers_are_connected",
    ),
    Mutation(
        "superseded-owners-do-not-come-back", "operators/partition.py",
        "self.held[weaker] += layout.one[strong]", "pass",
        "tests/test_partition.py::test_a_superseded_owner_does_not_come_back",
    ),
    Mutation(
        "what-an-operator-split-stays-apart", "operators/partition.py",
        "if full or (splits and self._apart(a, b)):", "if full:",
        "tests/test_partition.py::test_what_an_operator_split_is_never_one_customer",
    ),
    Mutation(
        "hubs-link-nobody", "operators/partition.py",
        "[link for link in links if link[4] not in hubs and link[5] not in hubs]", "list(links)",
        "tests/test_hubs.py::test_a_kiosk_links_nobody",
    ),
    Mutation(
        "hubs-make-no-large-cluster", "operators/hubs.py",
        "for _, a, b in evidence if a not in hubs and b not in hubs]", "for _, a, b in evidence]",
        "tests/system/test_identity_store.py::test_who_meets_at_a_kiosk_stays_apart_whoever_notices_it",
    ),
    Mutation(
        "hubs-have-met-too-many-of-a-namespace", "operators/hubs.py",
        "len(met) > limit < sum(", "len(met) > limit <= sum(",
        "tests/test_hubs.py::test_only_those_whom_a_limit_is_about_count",
    ),
    # -- names
    Mutation(
        "signing-up-keeps-the-anonymous-id", "operators/partition.py",
        "name(tokens[oldest[number]], stamps)", "name(tokens[head_of(found, members)], stamps)",
        "tests/test_birth.py::test_who_signs_up_keeps_the_anonymous_id_also_when_the_device_goes_on",
    ),
    Mutation(
        "no-two-customers-have-one-id", "operators/partition.py",
        "stamps, LOOSE)", "stamps)",
        "tests/test_birth.py::test_what_is_cut_off_from_who_is_named_after_it_has_an_id_of_its_own",
    ),
    Mutation(
        "a-used-up-name-renames-nobody", "operators/birth.py",
        "    members = [i for i in members if i not in graph.spent] or members if graph.spent else members\n", "",
        "tests/system/test_identity_commands.py::"
        "test_who_holds_what_an_erased_customer_was_named_after_keeps_the_own_id",
    ),
    Mutation(
        "dead-ids-are-not-given-again", "operators/graph.py",
        "graph.stamps[a] = max(last, graph.stamps.get(a, last))", "pass",
        "tests/system/test_identity_commands.py::test_what_was_split_off_from_who_is_erased_does_not_inherit_the_name",
    ),
    # -- changes
    Mutation(
        "moves-are-told-before-merges", "operators/changes.py",
        "(change.kind == MERGED, change.old", "(change.kind != MERGED, change.old",
        "tests/test_changes.py::test_what_moves_leaves_before_the_rest_is_handed_over",
    ),
    Mutation(
        "the-heir-holds-what-gave-the-name", "operators/changes.py",
        "customer_id(token_text(token)) == old", "customer_id(token_text(token)) != old",
        "tests/test_changes.py::test_who_is_no_more_has_become_who_holds_what_it_was_named_after",
    ),
    Mutation(
        "refusals-are-told-once", "operators/groups.py",
        "news |= facts.keys() - evidence.keys()", "news |= facts.keys()",
        "tests/system/test_identity_commands.py::test_a_link_that_a_limit_forbids_is_told_once",
    ),
    # -- the store
    Mutation(
        "writes-compare-first", "state/scripts/identity.lua",
        "#expected - 1) == expected", "#expected - 1) ~= nil",
        "tests/system/test_identity_store.py::test_who_loses_a_race_reads_again",
    ),
    Mutation(
        "marks-move-only-when-all-is-written", "state/scripts/identity.lua",
        "all = all and holds", "all = true",
        "tests/system/test_identity_store.py::"
        "test_each_write_is_all_or_nothing_and_marks_move_when_all_are_done",
    ),
    Mutation(
        "hubs-that-were-read-are-compared-too", "operators/planning.py",
        "held.stamp, SAME) for held in group.hubs.values()]", "ANY, SAME) for held in group.hubs.values()]",
        "tests/system/test_identity_store.py::test_a_kiosk_that_is_released_while_somebody_passes_it_is_read_again",
    ),
    # -- hand-overs and undoing
    Mutation(
        "touchpoints-wait-for-the-hand-over", "operators/succession.py",
        "profile.parks.append(Park(change.id, until))", "pass",
        "tests/test_merge.py::test_records_wait_for_the_hand_over_so_that_an_opt_out_is_not_too_late",
    ),
    Mutation(
        "touchpoints-count-for-the-side-that-sent-them", "operators/parts.py",
        "            found = held[token]\n", "",
        "tests/test_undo.py::test_what_happens_in_between_stays_on_the_side_that_sent_it",
    ),
    Mutation(
        "the-strongest-identifier-decides-the-side", "operators/parts.py",
        "            found = held[token]\n            break\n", "            found = held[token]\n",
        "tests/test_undo.py::test_what_both_sides_have_sent_belongs_to_the_side_of_the_strongest_identifier",
    ),
    Mutation(
        "what-leaves-is-taken-out", "operators/parts.py",
        "    parts[:] = [part for part in parts if part not in leaving]\n", "",
        "tests/test_undo.py::test_merge_then_split_is_the_identity",
    ),
    Mutation(
        "hand-overs-count-once-also-after-a-split", "operators/parts.py",
        "setattr(left, field, getattr(current, field))", "pass",
        "tests/test_undo.py::test_a_hand_over_told_again_after_the_split_is_not_taken_again",
    ),
    # -- backtests
    Mutation(
        "hand-overs-are-those-of-the-plays-replayed", "operators/replaying.py",
        "return isinstance(record, (Tick, Visit, Absorb, Signal, Step))", "return isinstance(record, Tick)",
        "tests/test_replaying.py::test_a_hand_over_is_that_of_these_plays_and_comes_before_what_waits_for_it",
    ),
    Mutation(
        "what-is-handed-over-comes-when-its-moment-is-over", "operators/replaying.py",
        "if record.at > self._now:", "if True:",
        "tests/test_replaying.py::test_a_hand_over_waits_for_what_was_written_together_with_its_cause",
    ),
    Mutation(
        "virtual-time-fires-a-timer-when-it-is-due", "operators/replaying.py",
        "Tick(due, due)", "Tick(at, at)",
        "tests/test_replaying.py::test_a_timer_fires_when_it_is_due_though_no_tick_says_so",
    ),
    Mutation(
        "what-is-due-at-the-end-of-a-log-still-happens", "operators/replaying.py",
        "            self._advance(shard, end)\n", "            pass\n",
        "tests/test_replaying.py::test_what_is_due_when_the_log_ends_still_happens_in_every_shard",
    ),
    Mutation(
        "recorded-time-is-that-of-these-plays-alone", "flows/backtest.py",
        "if in_force != self.book.version or number in self._paused:", "if in_force != self.book.version:",
        "tests/test_backtest.py::test_the_ticks_of_a_log_count_only_if_these_plays_alone_were_in_force",
    ),
    Mutation(
        "lines-of-a-file-go-by-their-time", "flows/history_file.py",
        "return sorted(range(len(times)), key=times.__getitem__)", "return range(len(times))",
        "tests/test_backtest.py::test_lines_go_by_their_time_not_by_their_place",
    ),
    Mutation(
        "the-caps-of-before-count-in-a-window", "flows/backtest.py",
        "        for feed in feeds:\n", "        for feed in feeds if record.at >= options.since else ():\n",
        "tests/test_backtest.py::test_the_time_before_is_replayed_but_not_counted_and_that_after_is_not_looked_at",
    ),
    Mutation(
        "identity-in-memory-writes-all-or-nothing", "state/identity_memory.py",
        "if not all([self._as_expected(each) for each in write]):", "if not self._as_expected(write[0]):",
        "tests/system/test_identity_store.py::test_each_write_is_all_or_nothing_and_marks_move_when_all_are_done",
    ),
    # -- plays
    Mutation(
        "missing-compares-false", "operators/expressions.py",
        """return _Part(type, f"({' and '.join(tests)} and {code})")""", "return _Part(type, code)",
        "tests/test_expressions.py::test_what_is_missing_is_missing_however_deep",
    ),
    Mutation(
        "what-was-ended-later-is-not-waited-for", "operators/progress.py",
        "if event.time <= _ended(known, key) or (before.times", "if (before.times",
        "tests/test_plays.py::test_an_absence_goes_by_event_time",
    ),
    Mutation(
        "counts-go-by-event-time", "operators/progress.py",
        "        if time <= _ended(known, key):\n            continue\n", "",
        "tests/test_plays.py::test_a_count_goes_by_event_time",
    ),
    Mutation(
        "what-was-waited-from-begins-no-second-wait", "operators/progress.py",
        "if before.due and before.touchpoint != key else", "if False else",
        "tests/test_plays.py::test_what_was_waited_from_begins_no_second_wait",
    ),
    Mutation(
        "what-history-should-have-ended-begins-nothing", "operators/progress.py",
        "return due if self.fresh or due > self.event.at else None", "return due",
        "tests/test_plays.py::test_what_history_began_ends_when_it_would_have_and_what_is_over_starts_nothing",
    ),
    Mutation(
        "what-history-began-ends", "operators/progress.py",
        "return due if self.fresh or due > self.event.at else None", "return due if self.fresh else None",
        "tests/test_plays.py::test_what_history_began_ends_when_it_would_have_and_what_is_over_starts_nothing",
    ),
    Mutation(
        "why-says-why-it-was-sent", "flows/why.py",
        'decision.id == before.id and decision.code == "duplicate"', "False",
        "tests/system/test_plays_control.py::test_why_says_what_was_decided_on_and_why_a_play_was_silent",
    ),
    Mutation(
        "why-looks-in-all-names-of-a-customer", "flows/why.py",
        "*(decision.grounds.births if decision.grounds else ())", "",
        "tests/system/test_month.py::test_every_trigger_is_explained",
    ),
    Mutation(
        "consent-is-asked", "operators/governance.py",
        "if \"consent\" in skips or rests.consent.get(each, _SILENT)[0]]", "if True]",
        "tests/test_engage.py::test_consent_and_reach",
    ),
    Mutation(
        "who-is-asked", "operators/governance.py",
        "if play.who is not None and not play.who.holds(", "if play.who is not None and False and not play.who.holds(",
        "tests/test_plays.py::test_who_is_asked_of_the_profile_when_it_is_decided",
    ),
    Mutation(
        "once-is-for-ever", "operators/governance.py",
        "or (bool(marks) and mark(", "or (False and mark(",
        "tests/test_plays.py::test_once_is_remembered_longer_than_decisions_are",
    ),
    Mutation(
        "plays-cool-down", "operators/governance.py",
        "< play.cool_down:", "< 0:",
        "tests/test_engage.py::test_a_play_cools_down",
    ),
    Mutation(
        "one-of-a-group-is-chosen", "operators/deciding.py",
        "if play.group is not None and verdict.outcome in (", "if False and verdict.outcome in (",
        "tests/test_limits.py::test_of_what_one_touchpoint_wakes_the_best_of_a_group_is_sent",
    ),
    Mutation(
        "windows-are-waited-for", "operators/governance.py",
        "if rests.window and not rests.waited:", "if False:",
        "tests/test_limits.py::test_a_window_waits_for_others_and_then_takes_the_best",
    ),
    Mutation(
        "caps-are-sliding", "operators/governance.py",
        "at - time < cap.within and", "at - time < cap.within - 86_400_000 and",
        "tests/test_governance.py::test_the_cap_is_sliding_and_exact",
    ),
    Mutation(
        "caps-of-a-channel-leave-the-others", "operators/governance.py",
        "return cap.channel in (None, channel) and", "return",
        "tests/test_plays.py::test_a_cap_of_one_channel_leaves_the_others",
    ),
    Mutation(
        "budgets-are-used-up", "operators/governance.py",
        "if rests.left is not None and rests.left <= 0:", "if rests.left is not None and rests.left < 0:",
        "tests/test_limits.py::test_a_budget_is_shared_out_and_used_up_exactly",
    ),
    Mutation(
        "quiet-hours-are-quiet", "operators/quiet.py",
        "after or before):", "after and before):",
        "tests/test_limits.py::test_no_release_lies_in_quiet_hours_nor_long_after_them",
    ),
    Mutation(
        "all-is-asked-anew-at-release", "operators/deciding.py",
        "            known.decided = [each for each in known.decided if each.id not in ids]\n", "",
        "tests/test_limits.py::test_what_would_be_sent_in_quiet_hours_is_held_and_sent_when_they_end",
    ),
    Mutation(
        "pausing-cancels-what-is-held", "operators/deciding.py",
        "paused_at.get(EVERY, -1)) >= each.at", "paused_at.get(EVERY, -1)) > each.at + 1",
        "tests/test_limits.py::test_pausing_cancels_what_is_held",
    ),
    Mutation(
        "who-is-held-out-stays-so-through-a-merge", "operators/governance.py",
        "held_out(play, [customer, *rests.births], book)", "held_out(play, [customer], book)",
        "tests/test_limits.py::test_a_holdout_stays_one_through_a_merge_and_who_was_treated_is_flagged",
    ),
    Mutation(
        "who-is-held-out-uses-up-no-cap", "operators/governance.py",
        "    if verdict.code is None:\n        sent = [", "    if True:\n        sent = [",
        "tests/test_limits.py::test_who_is_held_out_is_decided_on_to_the_end_but_never_sent_anything",
    ),
    Mutation(
        "days-are-those-of-the-calendar", "operators/dates.py",
        "day = local.date() + timedelta(days=offset.days)", "day = local.date()",
        "tests/test_dates.py::test_days_are_those_of_the_calendar_not_of_24_hours",
    ),
    Mutation(
        "everybody-has-a-birthday-every-year", "operators/dates.py",
        "return date(year, month, day - 1)", "return date(year + 4 - year % 4, month, day)",
        "tests/test_dates.py::test_days_that_come_every_year",
    ),
    Mutation(
        "a-birthday-told-anew-moves-what-is-waited-for", "operators/engage.py",
        "if before == now and type not in book.dating:", "if before == now:",
        "tests/test_dates.py::test_a_birthday_that_was_told_wrong_is_told_right",
    ),
    Mutation(
        "plays-put-in-force-later-find-who-is-known", "operators/engage.py",
        "state.applied += 1", "state.applied += 0",
        "tests/test_dates.py::test_who_is_visited_is_found_without_being_seen_again_and_only_once",
    ),
    Mutation(
        "what-is-late-can-be-dropped", "operators/engage.py",
        "late = candidate.play.drops_late and", "late = False and",
        "tests/test_dates.py::test_what_fell_due_while_nothing_ran_is_sent_or_dropped",
    ),
    Mutation(
        "plays-have-an-end", "operators/deciding.py",
        "if not start <= shard.state.at < end:", "if not start <= shard.state.at:",
        "tests/test_dates.py::test_a_play_speaks_while_it_is_valid",
    ),
    Mutation(
        "the-shadow-sends-nothing", "operators/governance.py",
        "code = SHADOW if code is None and play.mode", "code = code if True or play.mode",
        "tests/test_modes.py::test_a_play_in_the_shadow_does_everything_but_send",
    ),
    Mutation(
        "tests-reach-testers-only", "operators/governance.py",
        'if play.mode == "test" and', "if False and",
        "tests/test_modes.py::test_a_play_under_test_speaks_to_testers_also_after_a_merge",
    ),
    Mutation(
        "the-breaker-opens", "operators/deciding.py",
        "        if count == FAILURES:\n", "        if False:\n",
        "tests/test_modes.py::test_a_play_that_goes_on_failing_is_taken_out_until_it_is_resumed",
    ),
    Mutation(
        "journeys-end", "operators/journeys.py",
        "last = over or", "last = False or",
        "tests/test_journeys.py::test_what_ends_a_journey_ends_it_at_once_or_before_its_next_message",
    ),
    Mutation(
        "journeys-of-another-key-go-on", "operators/journeys.py",
        "return exit.by is None or key in progress.keys_of(exit.by(*given))", "return True",
        "tests/test_journeys.py::test_of_two_carts_the_one_that_was_bought_is_left_alone",
    ),
    Mutation(
        "journeys-stay-when-customers-part", "operators/parts.py",
        "for each in current.journeys if each not in gone_on]", "for each in current.journeys]",
        "tests/test_journeys.py::test_journeys_go_along_when_customers_merge_and_stay_when_they_part",
    ),
    Mutation(
        "grounds-are-all-that-a-decision-rests-on", "operators/governance.py",
        "        timezone=profile.timezone,\n", "",
        "tests/test_limits.py::test_the_customers_own_time_counts_and_else_the_configured_one",
    ),
    Mutation(
        "bandits-go-by-what-came-of-it", "operators/bandit.py",
        "betavariate(1 + arm[0], 1 + arm[1])", "betavariate(1, 1)",
        "tests/test_bandit.py::test_the_better_one_is_said_more_often_and_the_unknown_is_tried",
    ),
    Mutation(
        "a-tenth-is-drawn-evenly", "operators/bandit.py",
        'if share("explore", id) < EXPLORED:', "if False:",
        "tests/test_bandit.py::test_a_tenth_is_drawn_evenly_whatever_is_known",
    ),
    Mutation(
        "what-was-held-out-teaches-no-bandit", "operators/beliefs.py",
        'or outcome.outcome != "emitted" or', "or",
        "tests/test_bandit.py::test_both_classes_are_learned_of_what_was_sent_and_watched",
    ),
    Mutation(
        "refused-offers-are-tried-less", "operators/bandit.py",
        'REFUSED ** refused.get(variant.offer or "", 0)', "1",
        "tests/test_bandit.py::test_an_offer_that_was_refused_is_tried_less_by_that_customer",
    ),
    Mutation(
        "a-play-is-new-once", "operators/engage.py",
        "state.greeting.get(name, state.applied) for name", "state.applied for name",
        "tests/test_segments.py::test_a_new_play_can_speak_to_those_who_are_in_already_each_once",
    ),
    Mutation(
        "variants-stick", "operators/governance.py",
        "    if known in play.variants:\n        return known\n", "",
        "tests/test_limits.py::test_a_variant_stays_though_weights_change_but_not_when_it_is_gone",
    ),
    Mutation(
        "what-is-held-does-not-vanish-when-customers-part", "operators/parts.py",
        "    left.held = [held for held in current.held if held.id not in theirs]\n", "",
        "tests/test_limits.py::test_what_is_held_goes_along_when_customers_merge_and_stays_when_they_part",
    ),
    # -- feedback
    Mutation(
        "hard-bounces-close-an-address", "operators/governance.py",
        "if namespace in ADDRESSES and not known.bounced", "if namespace in ADDRESSES",
        "tests/test_feedback.py::test_a_hard_bounce_closes_the_channel",
    ),
    Mutation(
        "bounces-are-of-the-address-they-name", "operators/feedback.py",
        "contact.token in named if named and contact.token else contact.time <= time", "contact.time <= time",
        "tests/test_feedback.py::test_a_report_names_the_address_that_bounced",
    ),
    Mutation(
        "an-address-that-bounced-stays-one", "operators/succession.py",
        "known.bounced if known is not None and known.token == contact.token else 0", "0",
        "tests/test_feedback.py::test_a_newer_address_opens_it_again_and_the_same_one_does_not",
    ),
    Mutation(
        "soft-bounces-go-by-event-time", "operators/feedback.py",
        "return came_through < known.bounces[0] and", "return",
        "tests/test_feedback.py::test_three_soft_bounces_in_a_row_let_a_channel_rest",
    ),
    Mutation(
        "complaints-forbid-what-is-learned-later", "operators/feedback.py",
        "            consent.put(ledger, channel, consent.ANY, False, time)\n", "",
        "tests/test_feedback.py::test_what_is_withdrawn_goes_by_purpose_and_by_event_time",
    ),
    Mutation(
        "what-either-has-forbidden-is-forbidden", "operators/consent.py",
        "(all([granted for granted, _ in held])", "(any([granted for granted, _ in held])",
        "tests/test_feedback.py::test_the_ledger_does_not_depend_on_the_order",
    ),
    Mutation(
        "our-own-messages-count-once", "operators/feedback.py",
        "body.trigger_id is not None or body.play in book.plays:", "False:",
        "tests/test_feedback.py::test_our_own_message_is_counted_once",
    ),
    Mutation(
        "what-others-send-counts", "operators/governance.py",
        "and (name or cap.others) and", "and name and",
        "tests/test_feedback.py::test_no_window_ever_holds_more_than_a_cap_allows",
    ),
    # -- outcomes
    Mutation(
        "only-what-follows-a-decision-counts", "operators/outcomes.py",
        "not goal.at < event.time <= goal.until", "not goal.at <= event.time <= goal.until",
        "tests/test_outcomes.py::test_only_what_happens_after_the_decision_and_within_the_window_counts",
    ),
    Mutation(
        "what-is-closed-early-is-told", "operators/outcomes.py",
        "self._close(shard, profile, first, observed=False)", "profile.goals = profile.goals[-KEPT_GOALS:]",
        "tests/test_outcomes.py::test_so_many_goals_are_open_and_what_is_too_much_is_closed_as_not_observed",
    ),
    Mutation(
        "a-goal-closes-once", "operators/outcomes.py",
        "for side in shard.sides(profile):", "for side in [profile]:",
        "tests/test_outcomes.py::test_what_has_closed_does_not_close_again_when_customers_part",
    ),
    Mutation(
        "common-goals-stay-when-customers-part", "operators/parts.py",
        "for goal in current.goals if goal.id not in theirs]", "for goal in current.goals if False]",
        "tests/test_outcomes.py::test_every_decision_has_one_outcome_whatever_is_merged_and_split",
    ),
    Mutation(
        "goals-travel-with-a-merge", "operators/join.py",
        "    mine.goals = outcomes.join(mine.goals, other.goals)\n", "",
        "tests/test_outcomes.py::test_goals_go_along_when_customers_merge_and_an_order_of_either_reaches_them",
    ),
    Mutation(
        "uplift-compares-first-decisions", "operators/uplift.py",
        "if known is None or first[:2] < known[:2]:", "if True:",
        "tests/test_uplift.py::test_a_customers_first_decision_in_a_period_counts",
    ),
    Mutation(
        "intervals-are-not-symmetric", "operators/uplift.py",
        "sqrt((p - low) ** 2 + (other_high - q) ** 2)", "sqrt((p - low) ** 2 + (q - other_low) ** 2)",
        "tests/test_uplift.py::test_shares_differ_as_in_table_two_of_newcombe",
    ),
    # -- what the churn model reads, and how it learns
    Mutation(
        "a-late-order-counts-by-its-age", "operators/features.py",
        "    if time_ms < latest:\n        long = exp2(", "    if False:\n        long = exp2(",
        "tests/test_features.py::test_order_of_arrival_does_not_matter",
    ),
    Mutation(
        "joined-sums-fade-to-one-moment", "operators/features.py",
        "orders_224=old.orders_224 * long + new.orders_224", "orders_224=old.orders_224 + new.orders_224",
        "tests/test_features.py::test_join_is_what_one_customer_would_have_seen",
    ),
    Mutation(
        "the-average-of-weights-is-served", "operators/churn.py",
        "weights=tuple(self._averages)", "weights=tuple(state.weights)",
        "tests/test_churn.py::test_model_answers_what_its_learner_answers",
    ),
    Mutation(
        "later-weights-count-more", "operators/churn.py",
        "max(RECENT / (nth + RECENT - 1), 1.0 / WINDOW)", "1.0 / nth",
        "tests/test_churn.py::test_the_learner_is_the_pipeline_it_says_with_averaged_weights",
    ),
    Mutation(
        "a-factor-must-prove-itself-by-a-margin", "operators/clv.py",
        "each.corrected * (1 + MARGIN)", "each.corrected",
        "tests/test_clv.py::test_a_factor_is_used_where_it_errs_less_by_a_margin",
    ),
    # -- triggers and who receives them
    Mutation(
        "triggers-carry-the-customers-number", "operators/reading.py",
        "value if ns in self._sealed else", "value if ns in DELIVERABLE else",
        "tests/test_stitching.py::test_only_addresses_and_the_customers_number_keep_their_values",
    ),
    # -- churn models
    Mutation(
        "the-untreated-risk-is-served", "operators/churn.py",
        "        if treated:\n            scaled[_TREATED]", "        if False:\n            scaled[_TREATED]",
        "tests/test_churn.py::test_a_message_is_learned_beside_the_features_and_the_untreated_are_served",
    ),
    Mutation(
        "a-model-of-unknown-features-is-refused", "operators/churn.py",
        "learned.features_version != version_of(learned.features) or", "",
        "tests/test_churn.py::test_content_that_cannot_be_served_is_refused",
    ),
    Mutation(
        "treatments-are-those-within-the-horizon", "operators/scoring.py",
        "any([after < time <= until for time in treatments])", "any([after < time for time in treatments])",
        "tests/test_scoring.py::test_an_example_says_whether_a_message_came_within_its_horizon",
    ),
    Mutation(
        "treatments-follow-a-merge", "operators/join.py",
        "    governance.treated(mine, other.treatments)\n", "",
        "tests/test_scoring.py::test_messages_to_whom_was_merged_count_for_who_survives",
    ),
    Mutation(
        "the-narrowest-model-answers", "operators/scoring.py",
        "for key in (*reversed(keys), ROOT):", "for key in (*keys, ROOT):",
        "tests/test_scoring.py::test_the_narrowest_key_with_a_model_answers_and_the_score_says_so",
    ),
    Mutation(
        "a-first-model-waits-for-both-classes", "operators/contest.py",
        "return enough and waited", "return waited",
        "tests/test_learning.py::test_a_small_key_publishes_nothing_until_it_has_enough_of_both",
    ),
    Mutation(
        "what-is-held-stays", "operators/contest.py",
        ">= churn.publish_examples and not standing.held", ">= churn.publish_examples",
        "tests/test_learning.py::test_an_operator_goes_back_to_a_version_and_it_stays",
    ),
    Mutation(
        "predicted-before-learned", "operators/contest.py",
        "        learner.learn(vector, label, lesson.treated)\n        known.positives",
        "        learner.learn(vector, label, lesson.treated)\n"
        "        expected = learner.probability(vector, lesson.treated)\n        known.positives",
        "tests/test_learning.py::test_metrics_are_measured_before_learning",
    ),
    Mutation(
        "what-was-served-is-judged-by-those-left-alone", "operators/contest.py",
        "        if not lesson.treated:\n            quality.add(standing.served",
        "        if True:\n            quality.add(standing.served",
        "tests/test_learning.py::test_metrics_are_measured_before_learning",
    ),
    Mutation(
        "promotion-needs-the-whole-interval", "operators/contest.py",
        "if low > best[0] and min", "if known.duel.mean > best[0] and min",
        "tests/test_contest.py::test_who_is_as_good_is_promoted_hardly_ever",
    ),
    Mutation(
        "a-former-champion-keeps-its-features", "operators/contest.py",
        "elif name == standing.champion:", "elif False:",
        "tests/test_contest.py::test_a_new_list_of_features_starts_as_challenger",
    ),
    Mutation(
        "intervals-are-of-blocks", "operators/duel.py",
        "_SURE * sqrt(self.squares / (self.blocks - 1) / self.blocks)",
        "_SURE * sqrt(self.squares / (self.blocks - 1) / self.blocks / BLOCK)",
        "tests/test_contest.py::test_the_interval_is_that_of_block_means",
    ),
    Mutation(
        "ties-of-a-bin-count-half", "operators/quality.py",
        "(below + miss / 2)", "(below + miss)",
        "tests/test_quality.py::test_chance_ranks_no_better_than_a_coin",
    ),
    Mutation(
        "no-single-value-is-a-drift", "operators/drift.py",
        "max(-FURTHEST, min(FURTHEST, (value - watch.mean) / deviation))", "(value - watch.mean) / deviation",
        "tests/test_drift.py::test_one_value_far_off_says_nothing",
    ),
    Mutation(
        "a-gap-is-judged-from-its-order-on", "operators/scoring.py",
        "example.time, example.ordered + horizon)", "example.time, example.time + horizon)",
        "tests/test_scoring.py::test_an_example_says_whether_the_gap_of_then_became_a_lapse",
    ),
    Mutation(
        "a-warning-in-time-is-not-right", "operators/review.py",
        "if at <= lapse:", "if at < gap.since:",
        "tests/test_review.py::test_a_warning_before_a_purchase_in_time_was_wrong",
    ),
    Mutation(
        "reasons-are-the-largest-either-way", "operators/churn.py",
        "key=lambda term: -abs(term[0])", "key=lambda term: -term[0]",
        "tests/test_churn.py::test_reasons_are_the_largest_terms_of_the_log_odds",
    ),
    Mutation(
        "what-is-held-keeps-its-reasons", "operators/deciding.py",
        "version=each.version,\n                    reasons=each.reasons,", "version=each.version,",
        "tests/test_scoring.py::test_a_warning_gives_the_reasons_of_its_score",
    ),
    Mutation(
        "what-was-held-may-be-sent-from-its-end-on", "operators/deciding.py",
        "not_before=candidate.held.until if candidate.held else at", "not_before=at",
        "tests/test_limits.py::test_what_would_be_sent_in_quiet_hours_is_held_and_sent_when_they_end",
    ),
    Mutation(
        "what-was-not-delivered-is-not-acknowledged", "flows/delivery.py",
        "self._acknowledge(triggers[:done])", "self._acknowledge(triggers)",
        "tests/system/test_delivery.py::test_what_could_not_be_delivered_comes_again_and_what_was_does_not",
    ),
    Mutation(
        "keys-that-are-under-way-are-waited-for", "flows/keyring.py",
        "self._partitions, pending=True", "self._partitions, pending=False",
        "tests/system/test_delivery.py::test_a_key_whose_transaction_is_still_ending_is_waited_for",
    ),
    Mutation(
        "destroyed-keys-open-nothing", "flows/keyring.py",
        "self._wrapped.pop(kid, None)", "pass",
        "tests/system/test_delivery.py::test_nothing_is_delivered_to_who_was_erased_also_after_the_start",
    ),
    Mutation(
        "kept-profiles-are-bounded-by-what-they-take", "operators/shard.py",
        "while self._size > cached:", "while False:",
        "tests/test_undo.py::test_the_parts_of_evicted_profiles_are_forgotten_with_them",
    ),
    # -- windows and segments
    Mutation(
        "conditions-turn-at-the-very-moment", "operators/following.py",
        "apart.meets(after=apart.slope > 0)", "apart.meets(after=apart.slope < 0)",
        "tests/test_following.py::test_following_turn_by_turn_gives_what_asking_at_every_moment_does",
    ),
    Mutation(
        "windows-turn-when-the-oldest-leaves", "operators/following.py",
        "now.clock.note((min(inside) + span) * width)", "now.clock.note((max(inside) + span) * width)",
        "tests/test_following.py::test_a_window_turns_whenever_its_oldest_leaves",
    ),
    Mutation(
        "what-cannot-be-followed-is-refused", "operators/expressions.py",
        "        if self._scope.followed:\n", "        if False:\n",
        "tests/test_following.py::test_what_cannot_be_followed_is_refused_at_its_character",
    ),
    Mutation(
        "windows-go-by-the-time-of-the-touchpoint", "operators/windows.py",
        "bucket = event.time // window.width", "bucket = now // window.width",
        "tests/test_segments.py::test_an_exact_window_keeps_the_latest_whatever_comes_first",
    ),
    Mutation(
        "windows-are-bounded", "operators/windows.py",
        "inside[-window.kept :]", "inside",
        "tests/test_segments.py::test_an_exact_window_keeps_the_latest_whatever_comes_first",
    ),
    Mutation(
        "windows-are-never-early", "operators/windows.py",
        "(-(-within // (BUCKETS - 1)), BUCKETS, BUCKETS)", "(-(-within // BUCKETS), BUCKETS, BUCKETS)",
        "tests/test_segments.py::test_nothing_leaves_a_window_early_nor_later_than_is_said",
    ),
    Mutation(
        "windows-add-up-in-a-merge", "operators/windows.py",
        "for key, theirs in other.windows.items():", "for key, theirs in ():",
        "tests/test_segments.py::test_a_merge_adds_windows_up_and_may_let_in",
    ),
    Mutation(
        "windows-are-folded-into-parts", "operators/engage.py",
        "            self._fold(shard, part, event, body, raw)\n", "            fold.fold(part, event, body)\n",
        "tests/test_segments.py::test_a_split_gives_windows_back_and_starts_nothing",
    ),
    Mutation(
        "time-alone-lets-in-and-out", "operators/segments.py",
        'fold.set_timer(profile, TIMER, "", turns if turns < FAR else None)', "pass",
        "tests/test_segments.py::test_time_lets_in_and_out_to_the_millisecond",
    ),
    Mutation(
        "a-timer-is-moved-earlier-by-a-touchpoint", "operators/segments.py",
        "turns = min(clock.turns or FAR, due or FAR)", "turns = due or clock.turns or FAR",
        "tests/test_segments.py::test_a_touchpoint_moves_the_timer_earlier",
    ),
    Mutation(
        "a-definition-starts-nothing", "operators/segments.py",
        "cause = Cause(reason, wakes=reason == MERGE)", "cause = Cause(reason)",
        "tests/test_segments.py::test_who_is_in_by_a_new_definition_starts_nothing_but_what_the_touchpoint_changes_does",
    ),
    Mutation(
        "history-starts-nothing-by-a-segment", "operators/segments.py",
        "event.at - event.time <= book.start_within, event)", "True, event)",
        "tests/test_segments.py::test_history_is_in_a_segment_but_starts_nothing",
    ),
    Mutation(
        "who-is-merged-away-leaves", "operators/succession.py",
        "            self._segments.withdraw(shard, profile, segments.MERGE)\n", "",
        "tests/test_segments.py::test_a_merge_adds_windows_up_and_may_let_in",
    ),
    Mutation(
        "who-is-erased-leaves", "operators/succession.py",
        "        self._segments.withdraw(shard, profile, why)\n", "",
        "tests/test_segments.py::test_who_is_erased_leaves",
    ),
    Mutation(
        "who-was-in-before-a-merge-wakes-nothing", "operators/segments.py",
        "mine.segments[name] = max(known, -abs(since))", "pass",
        "tests/test_segments.py::test_who_was_in_before_a_merge_is_in_since_then_and_wakes_nothing",
    ),
    Mutation(
        "segments-are-judged-when-what-they-read-changes", "operators/scope.py",
        '"profile.last_seen": ACTIVE', '"profile.last_seen": frozenset()',
        "tests/test_segments.py::test_what_is_read_changes_by_no_other_touchpoints_than_is_said",
    ),
    # -- products
    Mutation(
        "a-drop-of-what-is-sold-out-wakes-nothing", "operators/products.py",
        " and now.stock != 0", "",
        "tests/test_signals.py::test_what_is_sold_out_is_not_cheaper",
    ),
    Mutation(
        "a-restock-follows-no-stock", "operators/products.py",
        "was.stock == 0 < now.stock", "was.stock <= 0 < now.stock",
        "tests/test_signals.py::test_back_in_stock_is_after_none",
    ),
    Mutation(
        "low-stock-falls", "operators/products.py",
        "was.stock > watch.low_stock >= now.stock > 0", "watch.low_stock >= now.stock > 0",
        "tests/test_signals.py::test_low_stock_is_what_falls_and_is_not_gone",
    ),
    Mutation(
        "history-of-products-wakes-nothing", "operators/products.py",
        "if event.at - event.time <= book.start_within:", "if book.start_within:",
        "tests/test_signals.py::test_a_late_change_wakes_nothing_and_neither_does_history",
    ),
    Mutation(
        "interest-counts-for-the-time-asked", "operators/products.py",
        " and known.times[-1] > at - watch.within", "",
        "tests/test_signals.py::test_each_play_asks_for_the_time_it_wants_and_shares_what_is_kept",
    ),
    Mutation(
        "steps-go-on-behind-the-customer", "operators/products.py",
        "entry < after]", "entry[0] < after[0]]",
        "tests/test_signals.py::test_customers_whose_interest_is_as_old_are_all_reached",
    ),
    Mutation(
        "steps-end-when-it-no-longer-holds", "operators/signals.py",
        "            and product.plays.get(name) == occasion\n", "            and name in product.plays\n",
        "tests/test_signals.py::test_a_second_drop_goes_on_for_the_first",
    ),
    Mutation(
        "signals-tell-the-time", "operators/signals.py",
        "        self._advance(shard, record.at)\n", "",
        "tests/test_signals.py::test_a_shard_where_nothing_happens_learns_the_time_from_the_signal",
    ),
    Mutation(
        "units-are-counted", "operators/signals.py",
        "                left[name] -= 1", "                pass",
        "tests/test_signals.py::test_at_most_so_many_are_told_a_unit",
    ),
    Mutation(
        "who-waits-for-a-hand-over-is-not-told", "operators/signals.py",
        " or profile.parks)", ")",
        "tests/test_signals.py::test_who_waits_for_a_hand_over_is_not_told_before_it",
    ),
    Mutation(
        "interest-that-was-handed-over-is-found", "operators/engage.py",
        "        self.signals.index(shard, shard.profile(absorb.customer))\n", "",
        "tests/test_signals.py::test_interest_goes_along_when_customers_merge_and_each_is_told_once",
    ),
    Mutation(
        "what-was-forgotten-does-not-come-back", "operators/engage.py",
        "            state.forgotten = self.signals.forgotten(shard)\n", "",
        "tests/test_signals.py::test_what_was_forgotten_under_other_plays_does_not_come_back",
    ),
    Mutation(
        "held-news-of-products-are-checked-again", "operators/deciding.py",
        "candidate.stop is None and play.watch is not None:", "candidate.held is None and play.watch is not None:",
        "tests/test_signals.py::test_what_was_held_is_checked_again_at_release",
    ),
    Mutation(
        "steps-of-a-batch-are-read-for-together", "operators/loading.py",
        "            needs[shard.number].customers.append(customer)\n", "            pass\n",
        "tests/system/test_loading.py::test_a_batch_of_steps_and_ticks_takes_as_many_round_trips_as_one_of_each",
    ),
    Mutation(
        "examples-of-who-lost-identifiers-are-read", "operators/loading.py",
        "and profiles[each].leaving]", "and profiles[each].parks]",
        "tests/system/test_loading.py::test_examples_of_who_may_have_to_part_with_some_are_there",
    ),
    Mutation(
        "the-index-of-interest-is-read-anew-after-a-commit", "operators/shard.py",
        "        self.interested.clear()\n", "",
        "tests/system/test_loading.py::test_the_index_is_read_anew_after_a_commit",
    ),
    Mutation(
        "what-was-changed-is-not-read-again", "operators/shard.py",
        "(each in profiles or each in changed or each in absent)", "(each in profiles or each in absent)",
        "tests/system/test_loading.py::test_one_whose_profile_was_changed_in_memory_is_not_read_again",
    ),
    # -- figures of the shop
    Mutation(
        "what-was-counted-is-told-once", "operators/tally.py",
        "state.tally, shard.latency = {}, {}", "shard.latency = {}",
        "tests/test_tally.py::test_a_second_is_told_once_when_the_clock_has_passed_it",
    ),
    Mutation(
        "a-day-late-is-not-late", "operators/tally.py",
        "if at - time > DAY:", "if at - time >= DAY:",
        "tests/test_tally.py::test_what_is_late_is_counted_when_it_happened_and_beyond_a_day_as_late",
    ),
    Mutation(
        "whoever-is-merged-leaves-its-band", "operators/succession.py",
        "profile, segments.MERGE)\n            tally.withdraw(shard, profile)", "profile, segments.MERGE)",
        "tests/test_tally.py::test_two_who_are_one_are_counted_as_one",
    ),
    Mutation(
        "an-alert-needs-all-its-minutes", "operators/thresholds.py",
        "all([threshold.passed(each) for each in values])", "any([threshold.passed(each) for each in values])",
        "tests/test_board.py::test_an_alert_begins_after_so_many_minutes_and_ends_when_it_is_clear",
    ),
    Mutation(
        "what-happened-is-remembered-however-late", "operators/board.py",
        "            self._remember(happened)\n            if self._open(MINUTE, number):\n",
        "            if self._open(MINUTE, number):\n                self._remember(happened)\n",
        "tests/test_board.py::test_all_that_has_happened_is_told_beside_the_windows",
    ),
    Mutation(
        "an-alert-ends-at-clear", "schemas/config.py",
        "if self.clear is None:", "if self.clear is not None:",
        "tests/test_board.py::test_an_alert_begins_after_so_many_minutes_and_ends_when_it_is_clear",
    ),
    # -- live screens
    Mutation(
        "counting-that-begins-anew-makes-nothing-up", "flows/web/known.py",
        "if before is None or any([flat.get(name, 0) < count for name, count in before.items()]):",
        "if before is None:",
        "tests/test_known.py::test_when_counting_begins_anew_nothing_is_made_up",
    ),
    Mutation(
        "the-hour-ends", "flows/web/known.py",
        "                for name, by in counts.items():\n                    left[name] -= by\n",
        "                for name in counts:\n",
        "tests/test_known.py::test_the_hour_is_what_happened_in_it",
    ),
    Mutation(
        "pages-stand-still-while-nothing-can-be-read", "flows/web/screens/live.py",
        "return known.told if feed.problem and known.told else now", "return now",
        "tests/test_screens.py::test_while_nothing_can_be_read_the_page_stays_at_what_was_told_last",
    ),
    Mutation(
        "who-is-slow-gets-the-whole-page", "flows/web/screens/live.py",
        "            message = whole()\n", "",
        "tests/test_screens.py::test_who_is_slow_gets_the_whole_page_instead_and_holds_up_nobody",
    ),
    Mutation(
        "only-what-has-changed-is-sent", "flows/web/screens/live.py",
        "if self._drawn[kind].get(place) != piece", "if piece",
        "tests/test_screens.py::test_what_is_pushed_is_what_has_changed_and_who_comes_gets_all",
    ),
    Mutation(
        "what-others-named-stays-text", "flows/web/screens/parts.py",
        "return value if isinstance(value, Html) else Html(escape(str(value)))", "return Html(str(value))",
        "tests/test_screens.py::test_nothing_that_others_named_becomes_part_of_a_page",
    ),
    # -- watching
    Mutation(
        "lag-rises-when-the-loop-is-stuck", "operators/lag.py",
        "if behind == 0 and now - self._came_round < HUNG:", "if behind == 0:",
        "tests/test_metrics.py::test_lag_goes_on_rising_when_the_loop_is_stuck",
    ),
    Mutation(
        "an-open-transaction-ages", "operators/lag.py",
        "before.since if before is not None and still else now", "now",
        "tests/test_metrics.py::test_the_last_stable_offset_ages_while_a_transaction_holds_it",
    ),
    Mutation(
        "who-was-merged-away-is-no-customer", "operators/succession.py",
        "        shard.count(\"customers\", 0 if profile.alias else -1)\n        lives", "        lives",
        "tests/test_metrics.py::test_customers_are_counted_without_those_merged_away_and_erased",
    ),
    Mutation(
        "late-is-by-the-brokers-time", "operators/stitching.py",
        "elif lane.time - event.time > LATE_MS:", "elif at - event.time > LATE_MS:",
        "tests/test_metrics.py::test_touchpoints_that_are_late_or_of_the_future_are_counted",
    ),
    Mutation(
        "signals-are-heard-at-once", "flows/process.py",
        "partial(signal.set_wakeup_fd, signal.set_wakeup_fd(told))", "partial(signal.set_wakeup_fd, -1)",
        "tests/test_process.py::test_signals_are_heard_while_the_main_thread_waits_for_others",
    ),
    Mutation(
        "who-cannot-work-is-not-ready", "flows/process.py",
        "self._judge() if self._ready else [self._why]", "[] if self._ready else [self._why]",
        "tests/test_process.py::test_who_cannot_work_is_not_ready_and_says_all_that_is_wrong",
    ),
    # -- access
    Mutation(
        "secrets-are-masked", "flows/settings_help.py",
        "owner[name] = _masked(owner[name])", "_masked(owner[name])",
        "tests/test_settings_access.py::test_faults_and_what_is_shown_tell_no_secret",
    ),
    Mutation(
        "passwords-never-travel-in-the-clear", "flows/settings_access.py",
        'if kafka.sasl == "PLAIN" and not kafka.tls:', 'if kafka.sasl == "PLAIN" and kafka.ca:',
        "tests/test_settings_access.py::test_what_does_not_go_together_for_kafka",
    ),
    Mutation(
        "redis-is-trusted-by-its-own-authority-alone", "state/tls.py",
        "ssl.create_default_context(cadata=settings.ca)", "ssl.create_default_context()",
        "tests/test_settings_access.py::test_redis_is_trusted_by_its_own_authority_alone",
    ),
    Mutation(
        "refusals-in-scripts-are-refusals", "operators/access.py",
        '"ACL failure in script" in str(error)', '"NOPERM" in str(error)',
        "tests/test_access.py::test_a_refusal_is_told_as_one_with_what_to_do",
    ),
    Mutation(
        "scripts-may-call-what-they-call", "flows/rights.py",
        '"zremrangebyscore", "zremrangebyrank", "pexpire",', '"zremrangebyscore", "zremrangebyrank",',
        "tests/test_rights.py::test_what_scripts_call_is_allowed",
    ),
    # -- data keys
    Mutation(
        "keys-that-are-made-are-not-destroyed", "operators/stitching.py",
        "for kid in change.keys if change.kind in FORGOTTEN else ():", "for kid in change.keys:",
        "tests/system/test_stitching.py::test_a_data_key_is_published_before_its_first_use",
    ),
    Mutation(
        "keys-that-redis-forgot-are-destroyed-too", "operators/succession.py",
        "for kid in sorted(_keys(profile, change).difference(change.keys)):", "for kid in ():",
        "tests/test_undo.py::test_data_keys_made_before_redis_forgot_them_are_destroyed_as_well",
    ),
    Mutation(
        "a-merge-proves-nothing-of-what-is-spent", "operators/scoring.py",
        "        example.outlooks = ()", "        example.spent = 0",
        "tests/test_scoring.py::test_a_merge_leaves_nothing_to_compare_with_what_was_expected",
    ),
    # -- silence
    Mutation(
        "who-is-known-is-not-forgotten", "operators/silence.py",
        "all([token.partition(", "any([token.partition(",
        "tests/test_silence.py::test_who_is_known_is_never_forgotten",
    ),
    Mutation(
        "touchpoints-put-silence-off", "operators/silence.py",
        "if heard <= since:", "if heard:",
        "tests/test_silence.py::test_every_touchpoint_puts_it_off",
    ),
    Mutation(
        "who-was-seen-since-does-not-expire", "operators/commands.py",
        "kind in _PLAIN and last <= time and", "kind in _PLAIN and",
        "tests/system/test_expiry.py::test_who_is_not_as_silent_as_it_seemed_stays",
    ),
    Mutation(
        "who-is-bound-to-others-does-not-expire", "operators/commands.py",
        "kind in _PLAIN and last <= time and a in held and b in held", "last <= time",
        "tests/system/test_expiry.py::test_whose_identifiers_say_something_of_others_stays",
    ),
    Mutation(
        "who-has-expired-leaves-nothing", "operators/stitching.py",
        "if _expired(held.cluster):", "if False:",
        "tests/system/test_expiry.py::test_who_is_silent_is_gone_from_the_index_and_its_key_is_destroyed",
    ),
    Mutation(
        "who-comes-back-has-not-expired", "operators/succession.py",
        "profile.erased or profile.touched > change.time:", "profile.erased:",
        "tests/test_silence.py::test_who_comes_back_is_somebody_new_and_news_of_the_former_end_are_ignored",
    ),
    # -- positions, clocks, connections
    Mutation(
        "to-initialise-changes-what-is-lost-alone", "operators/starting.py",
        "if r is None and (k is None or committed.metadata == FRESH):",
        "if initialise or (r is None and (k is None or committed.metadata == FRESH)):",
        "tests/test_start.py::test_to_initialise_changes_nothing_where_nothing_is_lost",
    ),
    Mutation(
        "a-log-that-ends-too-early-stops", "operators/starting.py",
        "elif max(r, k) > end:", "elif max(r, k) > end + 1:",
        "tests/test_start.py::test_a_log_that_ends_before_the_position_is_another_one",
    ),
    Mutation(
        "a-topic-made-anew-stops-at-a-take-over", "operators/starting.py",
        "elif renewed:", "elif renewed and not k:",
        "tests/test_start.py::test_a_topic_that_was_created_again_stops",
    ),
    Mutation(
        "a-topic-made-anew-stops-who-reads-it", "operators/topicids.py",
        "!= self.held[topic]:", "!= self.held[topic] and not answer.done():",
        "tests/system/test_subscription.py::test_a_topic_that_was_deleted_and_created_again_is_another_one",
    ),
    Mutation(
        "a-partition-of-which-nothing-was-read-has-a-position", "operators/subscription.py",
        "return {**self._starts, **read}", "return read",
        "tests/system/test_subscription.py::test_a_partition_of_which_nothing_was_read_has_a_position",
    ),
    Mutation(
        "shards-of-another-log-are-put-back-in-redis", "operators/ownership.py",
        "if each.kind == FRESH and held.r not in (None, each.offset)", "if each.kind == FRESH and held.r == -1",
        "tests/system/test_ownership.py::"
        "test_who_begins_anew_leaves_no_position_of_the_old_log_to_who_comes_next",
    ),
    Mutation(
        "a-source-has-a-position-before-its-first-batch", "operators/positions.py",
        "for source, at in offsets.items() if source not in self._sources}\n        if fresh:",
        "for source, at in offsets.items() if source not in self._sources}\n        if not fresh:",
        "tests/system/test_stitching.py::test_a_source_has_a_position_before_its_first_batch",
    ),
    Mutation(
        "nothing-is-shown-of-whom-one-was-split-from", "flows/identity_lookup.py",
        "if profile is not None and not profile.alias else", "if profile is not None else",
        "tests/system/test_identity_show.py::test_nothing_of_another_is_shown_of_who_was_split_from_it",
    ),
    Mutation(
        "timers-wait-for-what-is-on-its-way", "operators/positions.py",
        "max(held.watermark, self._through.get(source, 0))", "max(held.watermark, lane.through)",
        "tests/system/test_stitching.py::test_the_watermark_waits_until_what_was_stitched_is_in_the_log",
    ),
    Mutation(
        "clocks-may-not-be-set-back", "operators/clock.py",
        "if abs(step) > self._tolerated", "if step > self._tolerated",
        "tests/test_clock.py::test_after_a_step_nothing_is_stamped_until_the_clock_is_back",
    ),
    Mutation(
        "replicas-are-left", "state/connection.py",
        "        client.connection_pool.disconnect()\n", "",
        "tests/system/test_connection.py::"
        "test_a_primary_that_becomes_a_replica_is_left_for_the_one_that_the_address_leads_to",
    ),
    # -- crashes, take-overs and what Redis forgets, in the simulation
    Mutation(
        "outboxes-are-published-from-k-on", "operators/ownership.py",
        "if output.offset >= each.floor", "if output.offset > each.floor",
        "tests/test_simulation.py::test_what_was_once_wrong",
    ),
    Mutation(
        "what-redis-forgot-is-noticed-where-nothing-happens", "operators/engagement.py",
        "if size.r != self.shards[number].stored]", "if size.r is None]",
        "tests/test_simulation.py::test_nothing_is_lost_or_doubled_whatever_happens",
    ),
    Mutation(
        "an-idle-stitch-notices-what-redis-forgot", "operators/positions.py",
        "        if moved:\n            self._move(moved)", "        if moved != held:\n            self._move(moved)",
        "tests/test_simulation.py::test_nothing_is_lost_or_doubled_whatever_happens",
    ),
    Mutation(
        "partitions-that-another-has-begun-are-not-lost", "operators/offsets.py",
        "else self.committed(committed)", "else committed",
        "tests/test_simulation.py::test_what_was_once_wrong",
    ),
    # -- bad input
    Mutation(
        "identifiers-that-are-none-stop-nobody", "operators/privacy.py",
        "value.items() if isinstance(value, dict) else ():", "value.items():",
        "tests/test_corpus.py::test_each_ends_in_one_place",
    ),
    Mutation(
        "what-no-schema-knows-can-be-read", "schemas/touchpoint.py",
        '_anything).decode(data or b"{}")', '_anything).decode((data if type in _bodies else b"") or b"{}")',
        "tests/test_corpus.py::test_each_is_refused_for_its_reason_or_read",
    ),
    Mutation(
        "half-characters-are-no-plays", "flows/checking.py",
        "if isinstance(value, str) and not value.isascii() and any(", "if value is None and any(",
        "tests/test_fuzz.py::test_only_declared_errors_escape",
    ),
    # -- the web service
    Mutation(
        "a-revoked-token-lets-nobody-in", "state/access.py",
        "return not self.revoked and", "return",
        "tests/test_web.py::test_a_revoked_token_and_its_sessions_are_refused_at_once",
    ),
    Mutation(
        "the-first-token-closes-the-door", "flows/web/access.py",
        "for name in _FORWARDED]) and not self.store.any()", "for name in _FORWARDED])",
        "tests/test_web.py::test_on_this_machine_everybody_is_a_viewer_until_there_is_a_token",
    ),
    Mutation(
        "whoever-comes-through-a-proxy-is-not-here", "flows/web/access.py",
        "not any([name in headers for name in _FORWARDED]) and", "",
        "tests/test_web.py::test_on_this_machine_everybody_is_a_viewer_until_there_is_a_token",
    ),
    Mutation(
        "public-addresses-need-tokens", "flows/web/access.py",
        "if not is_loopback(host) and", "if False and",
        "tests/test_web.py::test_a_public_address_is_refused_without_a_token_that_holds",
    ),
    Mutation(
        "sessions-prove-that-a-page-of-ours-asks", "flows/web/access.py",
        "if asks.csrf and not hmac", "if False and not hmac",
        "tests/test_web.py::test_signing_in_and_out",
    ),
    Mutation(
        "other-sites-are-refused", "flows/web/access.py",
        "if foreign or site not in", "if site not in",
        "tests/test_web.py::test_what_another_site_sends_is_refused",
    ),
    Mutation(
        "requests-are-limited", "flows/web/limits.py",
        "taken = left >= 1", "taken = True",
        "tests/test_web.py::test_requests_and_attempts_to_sign_in_are_limited",
    ),
    Mutation(
        "conditions-are-masked", "flows/web/masking.py",
        'check.text.partition(" (with ")[0]', "check.text",
        "tests/test_web.py::test_conditions_are_shown_without_what_they_read",
    ),
    Mutation(
        "a-viewer-gets-no-values", "flows/web/people.py",
        'if not who.may("agent"):', "if False:",
        "tests/system/test_web.py::test_no_endpoint_gives_a_viewer_any_value",
    ),
    Mutation(
        "a-look-waits-for-its-record", "flows/web/audit.py",
        "if told != [True]:", "if False:",
        "tests/system/test_web.py::test_an_audit_that_cannot_be_written_shows_nothing",
    ),
    Mutation(
        "the-audit-is-kept-for-a-year", "schemas/topics.py",
        "max(keep, AUDIT_KEPT) if name == AUDIT else keep", "keep",
        "tests/test_web.py::test_the_audit_is_kept_for_a_year_whatever_else_is",
    ),
]  # fmt: skip


class Verdict(NamedTuple):
    """``noticed``: the test failed. ``survived``: it passed. ``broken``: neither, be it that nothing could be imported.
    ``by``: the node that failed first, or what pytest said last."""

    outcome: Literal["noticed", "survived", "broken"]
    seconds: float
    by: str


def main(arguments: list[str] | None = None) -> int:
    """Plant each; exit code 1 unless all are noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="say what there is, run nothing")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each mutation")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - {mutation.name for mutation in MUTATIONS}):
        parser.error(f"no such mutation: {', '.join(unknown)}; see --list")
    chosen = [mutation for mutation in MUTATIONS if not options.names or mutation.name in options.names]
    if options.list:
        for mutation in chosen:
            _say(options.json, {"name": mutation.name, "file": mutation.file, "test": mutation.test})
        return 0
    if stale := [mutation.name for mutation in chosen if occurrences(mutation) != 1]:
        parser.error(f"the old text does not occur exactly once: {', '.join(stale)}")
    untouched = attempt(sorted({mutation.test for mutation in chosen}))
    if untouched.outcome != "survived":
        parser.error(f"fails with nothing changed: {untouched.by}")
    missed = 0
    for mutation in chosen:
        verdict = attempt([mutation.test], mutation)
        missed += verdict.outcome != "noticed"
        _say(options.json, {"name": mutation.name, **verdict._asdict(), "seconds": round(verdict.seconds, 1)})
    return 1 if missed else 0


def _say(as_json: bool, told: dict[str, Any]) -> None:
    print(json.dumps(told) if as_json else "  ".join(str(each) for each in told.values()), flush=True)


def occurrences(mutation: Mutation) -> int:
    """How often the old text stands in its file."""
    return (ROOT / mutation.file).read_text().count(mutation.old)


def attempt(tests: Sequence[str], mutation: Mutation | None = None) -> Verdict:
    """Run ``tests`` in a copy of the tree with one mutation, or none, planted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder)
        if mutation is not None:
            path = folder / mutation.file
            path.write_text(path.read_text().replace(mutation.old, mutation.new))
        return judge(folder, tests)


def _copy(folder: Path) -> None:
    """What git knows of, as it stands in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for file in filter(None, listed.split("\0")):
        if (ROOT / file).exists():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)


def judge(folder: Path, tests: Sequence[str]) -> Verdict:
    """Run ``tests`` in ``folder``."""
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests], cwd=folder, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(folder)}, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Verdict("broken", time.monotonic() - started, f"not done after {PATIENCE} s")
    seconds, lines = time.monotonic() - started, (done.stdout + done.stderr).splitlines()
    failed = [line.removeprefix("FAILED ").partition(" - ")[0] for line in lines if line.startswith("FAILED ")]
    if done.returncode == 1 and failed:
        return Verdict("noticed", seconds, failed[0])
    last = next((line for line in reversed(lines) if line), "")
    return Verdict("survived" if done.returncode == 0 else "broken", seconds, last)


if __name__ == "__main__":
    sys.exit(main())
