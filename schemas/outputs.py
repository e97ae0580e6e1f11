"""What touchstream writes for others: triggers, decisions, identity changes, dead letters, examples.

Consumers read with ``isolation.level=read_committed``. Every id is derived, so reading twice is visible.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Sealed(msgspec.Struct, array_like=True):
    """A personal value: the namespace of the identifier it is, the id of the data key, base64 of what it is under that
    key (AES-256-GCM)."""

    namespace: str
    kid: str
    sealed: str


class TriggerData(msgspec.Struct, omit_defaults=True):
    """Why and to whom: everything a marketing system needs to act.

    ``channel`` is the one to use, ``channels`` all that were open and have an address, the best first. ``contact``
    is the address for it, ``customer_number`` the customer's number in the source system, where that is known; both
    are sealed. ``consent``: the purpose and when (event time) the customer agreed to it on this channel; empty where
    the play does not ask. ``score`` and its ``reasons`` (as in `Score`): where a score woke the play. Times in ms;
    ``touchpoint_time`` is event time, ``touchpoint_ts`` the broker's time of the source record (0 for
    timers), ``decided_at`` the log's clock. It may be sent from ``not_before`` on: the end of the quiet hours or of the
    group's window that held it, else when it was decided; after ``expires_at`` it must not be sent any more. ``step``:
    the number of a further message of a journey, 0 for the first.
    """

    play: str
    play_version: str
    customer: str
    channel: str
    business_key: str
    touchpoint: str
    touchpoint_time: int
    touchpoint_ts: int
    decided_at: int
    contact: Sealed | None = None
    values: dict[str, str | int | float] = {}
    score: float | None = None
    variant: str | None = None
    channels: list[str] = []
    consent: Annotated[list[str | int], msgspec.Meta(max_length=2)] = []
    expires_at: int | None = None
    step: int = 0
    customer_number: Sealed | None = None
    reasons: dict[str, float] = {}
    not_before: int | None = None


class Trigger(msgspec.Struct, kw_only=True):
    """A CloudEvents 1.0 message in structured JSON; ``id`` is UUIDv5 of play, customer, business key, occurrence.
    ``traceparent`` (W3C Trace Context, a CloudEvents extension): the trace is that of the touchpoint, the span that of
    the decision, both derived from their ids."""

    id: Text
    source: Text
    type: Text
    subject: Text
    time: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
    traceparent: Annotated[str, msgspec.Meta(pattern="^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")]
    data: TriggerData
    specversion: Literal["1.0"] = "1.0"
    datacontenttype: Literal["application/json"] = "application/json"


class Grounds(msgspec.Struct, omit_defaults=True):
    """What a decision rests on, beside the plays in force and its time: from these it can be taken again. Times in ms.

    ``who``: what the play's conditions name, by name (null: missing); ``consent`` by channel, for the play's purpose:
    whether it was given, and when; ``decided``: this very decision was taken before; ``last``: when the play was last
    decided for; ``lost``: the play of its group that was chosen; ``waited``: it was held before; ``window``: when the
    window of its group closes; ``sent``: messages that count, as time, play (none: others sent it), channel; ``left``
    of the play's budget in this shard; ``held``: messages that wait; ``births``: the ids of all who were merged into
    the customer, by which holdouts are drawn as by its own; ``variant``: what the play said before; ``addresses``:
    namespaces of those known that messages reach, ``bounced``: of those that they do not; ``resting``: channels that
    have bounced too often lately; ``answers``: where a play prefers by that, the share of messages on each of its
    channels that the customer answers; ``arms``: of a play with a bandit, how often each variant has converted and has
    not; ``refused``: how often in a row the customer has not taken an offer, by its class.
    """

    who: dict[str, int | float | str | bool | list[str] | None] = {}
    consent: dict[str, tuple[bool, int]] = {}
    decided: bool = False
    last: int | None = None
    lost: str = ""
    waited: bool = False
    window: int = 0
    sent: list[tuple[int, str, str]] = []
    left: int | None = None
    held: int = 0
    timezone: str = ""
    births: list[str] = []
    variant: str | None = None
    addresses: list[str] = []
    bounced: list[str] = []
    resting: list[str] = []
    answers: dict[str, float] = {}
    arms: dict[str, tuple[int, int]] = {}
    refused: dict[str, int] = {}


class Decision(msgspec.Struct, omit_defaults=True):
    """The outcome of a play for a customer, and the ``grounds`` it was taken on (none if the play is gone or paused).
    ``step``: the number of a further message of a journey; that goes by the plays it began with, and by the limits of
    ``limits_version`` if those are others. ``explored``: of a bandit's choice, whether it was drawn evenly.

    ``outcome``: ``emitted``; ``held_out`` (as if it were, but for the holdout ``code``: global or play); ``shadow`` (as
    if it were, but for the mode of the play); ``stopped`` by
    the step ``code``; or ``held`` by it ``until`` (ms), and then decided anew under the same id. ``treated``: who is
    held out now was sent this play before, under another id, and is not to be compared with.
    """

    id: str
    play: str
    play_version: str
    customer: str
    outcome: str
    at: int
    business_key: str
    touchpoint: str
    code: str | None = None
    channel: str | None = None
    variant: str | None = None
    until: int | None = None
    treated: bool = False
    grounds: Grounds | None = None
    step: int = 0
    limits_version: str | None = None
    explored: bool | None = None


class Outcome(msgspec.Struct, omit_defaults=True):
    """What came of an emitted or held-out decision, by the goal of its play: one record for each, when its window
    closes, for those that converted and those that did not alike.

    ``id`` is that of the decision, of ``decided_at``; ``outcome``: ``emitted`` or ``held_out``; ``treated`` as on the
    decision. The window ends at ``until``. ``converted_at`` is the event time of the first touchpoint that reached the
    goal, ``after`` how long (ms) after the decision; ``times`` how many did, ``revenue`` what they brought together, in
    major units. Not ``observed``: closed early, since the customer had too many open goals; not to be compared with.
    ``explored`` as on the decision.
    """

    id: str
    play: str
    play_version: str
    customer: str
    outcome: str
    decided_at: int
    until: int
    at: int
    converted: bool
    channel: str | None = None
    variant: str | None = None
    converted_at: int | None = None
    after: int | None = None
    times: int = 0
    revenue: float = 0.0
    treated: bool = False
    observed: bool = True
    explored: bool | None = None


class IdentityChange(msgspec.Struct, omit_defaults=True):
    """One change of who is who, as applied: ``created``, ``linked``, ``merged``, ``moved``, ``split``,
    ``quarantined``, ``released``, ``refused`` (``why``: the reason), ``erased`` or ``expired``; identifiers as tokens;
    ``touchpoint``: the token of the event that brought it about, or the id of an operator's command; ``policy``: the
    version of the identity policy that said so."""

    id: str
    kind: str
    customer: str
    version: int
    time: int
    at: int
    ids: list[str] = []
    old: str | None = None
    touchpoint: str | None = None
    policy: str = ""
    why: str = ""


class Alias(msgspec.Struct, omit_defaults=True):
    """What has become of a customer id, the newest of its key: it is ``target`` now, itself (it lives again), or it was
    ``erased`` at that time (ms) and is dead for ever. ``version`` orders them."""

    customer: str
    target: str
    version: int
    at: int
    erased: int = 0


class Audit(msgspec.Struct, omit_defaults=True):
    """What came of an operator's command: ``applied``, or ``refused`` (``why`` says why); then, of an erasure, one
    ``erased`` per customer once its state is gone: ``counts`` says of what how many. One that came through the web
    service was ``asked`` for before, and a ``look`` there at a customer's values was ``shown`` (``why``: which of its
    answers).

    ``by`` and ``reason`` are the operator's words; ``ids`` the tokens that the command names, ``customers`` who holds
    them now.
    """

    command: str
    op: str
    outcome: str
    at: int
    ids: list[str] = []
    customers: list[str] = []
    by: str = ""
    reason: str = ""
    why: str = ""
    counts: dict[str, int] = {}


class Alert(msgspec.Struct, omit_defaults=True):
    """Something that a person should look at. ``kind``: quarantined (an identifier that so many met at that it stands
    for no person any more), play_error (a play could not be evaluated; ``customer``: on whom), kpi (a figure of the
    shop has passed a threshold), kpi_cleared (it is back), or of churn models: model_promoted, model_held,
    model_released, model_refused (what an operator asked for cannot be), model_broken and model_drift (what they are
    fed or what they lose is no longer what it was)."""

    kind: str
    at: int
    customer: str
    text: str
    ids: list[str] = []


class Score(msgspec.Struct, omit_defaults=True):
    """A churn score: probability of no purchase within the horizon if no message is sent, its band, the model's hash.
    ``key``: of which customers the model is, `prior` of none: it is the stated rule that answers before enough was
    learned. ``reasons``: the features that moved its log-odds most, at most three, largest first, each with by how
    much; above 0 is towards leaving.

    ``lapse``: the probability that the present gap between purchases becomes longer than the horizon (none if it is
    already), and of whose model that is (``lapse_key``, as ``key``). ``rfm``: recency, frequency and monetary value
    among the buyers of the shard, each from 1 to 5, the best, and ``rfm_segment``, what such are called; ``stage`` of
    the lifecycle: prospect, new, active, loyal, at_risk, lapsed or won_back; ``high_potential``: few orders yet, each
    worth as much as those of the best fifth. The rules are in `operators.lifecycle`. ``clv``: what the customer is
    expected to spend within the horizon, in major units.
    """

    customer: str
    at: int
    probability: float
    band: str
    model: str
    at_purchase: bool = False
    reasons: dict[str, float] = {}
    key: str = ""
    lapse: float | None = None
    lapse_key: str = ""
    rfm: str = ""
    rfm_segment: str = ""
    stage: str = ""
    high_potential: bool = False
    clv: float | None = None


class SegmentChange(msgspec.Struct, omit_defaults=True):
    """A customer ``entered`` a segment or ``left`` it, ``at`` (ms, the log's clock).

    ``reason``: a ``touchpoint`` of this ``type``, ``time`` that passed, a new churn ``score``; a ``merge`` or ``split``
    of customers, of whom one leaves what another enters; the ``definition`` of the segment changed; or the customer was
    ``erased``. Of one customer and segment they alternate.
    """

    customer: str
    segment: str
    change: str
    at: int
    reason: str
    plays_version: str
    type: str | None = None
    touchpoint: str | None = None


class Example(msgspec.Struct, omit_defaults=True):
    """A matured example: the features at ``time``, and whether no purchase followed within the horizon.

    ``probability`` and ``model`` are what was served then. ``keys``: of the customers alike whose models learn it
    beside that of all, the widest first. ``treated``: a message that is meant to change what customers do was sent
    meanwhile; ``held_out``: none ever is, since the customer is in the holdout of all plays.

    On this topic records without a key are words of operators to the learn flow, and no examples.
    """

    id: str
    customer: str
    time: int
    features: list[float]
    features_version: str
    label: bool
    probability: float
    model: str
    at: int
    keys: list[str] = []
    treated: bool = False
    held_out: bool = False
    lapsed: bool | None = None
    lapse: float | None = None


class Partial(msgspec.Struct, omit_defaults=True):
    """What one ``shard`` has counted in one ``second`` (Unix time, by the clock of its log), to be added to that of the
    others: by the Unix ``minutes`` in which it happened (event time), by name (`operators.tally`), how many. Each thing
    is told once. ``latency``: how long triggers were under way, from the broker's time of the touchpoint until they
    were committed: by bucket, how many; bucket b holds what took 2^((b-1)/8) to 2^(b/8) ms.
    """

    shard: int
    second: int
    minutes: dict[int, dict[str, int]]
    latency: dict[int, int] = {}


class PlayFigures(msgspec.Struct, omit_defaults=True):
    """What a play has done: messages ``sent`` by channel, decisions ``held``, ``held_out`` and ``shadow``, ``stopped``
    by code. ``goals``: of decisions ``emitted`` and ``held_out`` how many goals have ``closed``, how many of them
    ``converted``, and their ``revenue`` (major units)."""

    sent: dict[str, int] = {}
    held: int = 0
    held_out: int = 0
    shadow: int = 0
    stopped: dict[str, int] = {}
    goals: dict[str, dict[str, float]] = {}


class Latency(msgspec.Struct, omit_defaults=True):
    """Milliseconds from the broker's time of a touchpoint to the commit of the trigger, within 9 %, of ``count``
    triggers."""

    count: int
    p50: float
    p99: float
    max: float


class Kpis(msgspec.Struct, omit_defaults=True):
    """Figures of one second or minute, its key is ``seconds/start``: of a window the highest ``revision`` counts.

    ``start`` (ms) and the ``seconds`` it lasts, 1 or 60; 0 (key ``0/0``): all that has happened since the beginning,
    without ``active`` customers and ``latency``. A second is one of the log's clock and shows what was worked
    off in it; a minute is one of event time, and what arrives up to a day late corrects it; what arrives ``late``
    beyond that is counted in the minute it arrives. ``clock`` (ms): up to when shards had told what they counted.

    ``touchpoints`` by source and type; ``customers``: ``active``, ``new``, and changes of identity by kind; ``orders``
    and ``revenue`` (major units); ``funnel``: steps from view to order, ``drop_off``: the share that is lost before
    each; ``plays`` by name. As of the ``clock``, not of the window: ``segments`` by size, customers by churn ``bands``,
    ``at_risk``: what the customers of the highest band have spent (major units), and ``goals`` of all plays since the
    beginning. ``defects`` of touchpoints by source, as of when they were worked off: ``duplicates``, which are counted
    nowhere else, ``late`` (more than five minutes after they happened), and those that name ``no_channel``.
    """

    start: int
    seconds: int
    revision: int
    clock: int
    touchpoints: dict[str, dict[str, int]] = {}
    duplicates: int = 0
    late: int = 0
    customers: dict[str, int] = {}
    orders: int = 0
    revenue: float = 0.0
    funnel: dict[str, int] = {}
    drop_off: dict[str, float] = {}
    plays: dict[str, PlayFigures] = {}
    latency: Latency | None = None
    segments: dict[str, int] = {}
    bands: dict[str, int] = {}
    at_risk: float = 0.0
    goals: dict[str, dict[str, dict[str, float]]] = {}
    defects: dict[str, dict[str, int]] = {}


class DeadLetter(msgspec.Struct, omit_defaults=True):
    """A record that could not be used. ``sealed`` holds the original key, value, headers and the full
    error under the dead-letter key (base64 AES-256-GCM); the rest is safe to read."""

    reason: str
    path: str
    stage: str
    topic: str
    partition: int
    offset: int
    ts: int
    at: int
    sealed: str
