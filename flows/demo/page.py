"""The demo's page on a terminal: figures, plays, and the triggers as they happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final
from zlib import crc32

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.demo.account import shown_ms
from flows.demo.figures import Emitted, Figures
from flows.demo.lines import log_time, short, stamp
from operators.churn import BANDS

COLOURS: Final = ("green", "cyan", "yellow", "magenta", "blue", "bright_green", "bright_cyan", "bright_magenta")
REFRESHES_A_SECOND: Final = 5
#: Rows of the page that are not triggers: header, figures, frames, footer.
HEADER, FIGURES, DEAD, FOOTER, FRAME = 1, 11, 1, 1, 3
#: Plays shown one by one; the others in one row.
SHOWN: Final = 6
_WAITING: Final = "triggers appear here as they happen"


class Page:
    """A full-screen page, drawn anew several times a second while entered."""

    def __init__(self, figures: Figures, title: str, console: Console) -> None:
        self._figures = figures
        self._title = title
        self._console = console
        self._live = Live(
            get_renderable=self.render,
            console=console,
            screen=True,
            refresh_per_second=REFRESHES_A_SECOND,
            redirect_stderr=False,
            redirect_stdout=False,
        )

    def __enter__(self) -> Page:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, emitted: Iterable[Emitted] = ()) -> None:
        """The page draws itself from the figures."""

    def render(self) -> RenderableType:
        """The page as it is now, for the console's size."""
        height = self._console.size.height
        rows = max(1, height - HEADER - FIGURES - DEAD - FOOTER - FRAME)
        layout = Layout()
        layout.split_column(
            Layout(header(self._figures, self._title), size=HEADER),
            Layout(name="figures", size=FIGURES),
            Layout(dead_letters(self._figures), size=DEAD),
            Layout(triggers(self._figures, rows)),
            Layout(footer(self._figures), size=FOOTER),
        )
        layout["figures"].split_row(Layout(flow(self._figures), ratio=1), Layout(plays(self._figures), ratio=1))
        return layout


def header(figures: Figures, title: str) -> RenderableType:
    """One line: what runs, for how long, at which simulated moment."""
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(justify="right", no_wrap=True)
    moment = f"simulated {log_time(figures.clock)}  " if figures.clock else ""
    table.add_row(
        Text.assemble((" touchstream ", "bold reverse"), " ", (figures.phase, "bold"), f"  {title}"),
        f"{moment}{stamp(figures)}",
    )
    return table


def flow(figures: Figures) -> RenderableType:
    """What goes through, and how fast."""
    recent = figures.recent_latency
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_row("touchpoints", f"[bold]{figures.per_second:,.0f}/s[/]  {figures.finished:,} in all")
    table.add_row("lag", _lag(figures))
    table.add_row("customers", f"{figures.customers:,}  {figures.merges:,} merges")
    table.add_row("to trigger", f"p50 [bold]{shown_ms(recent.p50)}[/]  p99 [bold]{shown_ms(recent.p99)}[/]")
    table.add_row("churn model", _model(figures))
    table.add_row("churn bands", _bands(figures))
    table.add_row("restarts", f"[bold red]{figures.restarts}[/]" if figures.restarts else "0")
    return Panel(table, title="flow", title_align="left", border_style="dim")


def plays(figures: Figures) -> RenderableType:
    """Triggers by play, and what stopped the others."""
    table = Table(expand=True, box=None, padding=(0, 1), header_style="dim")
    table.add_column("play", no_wrap=True)
    table.add_column("triggers", justify="right", min_width=8)
    table.add_column("stopped", justify="right", min_width=7)
    table.add_column("because of", ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
    shown, others = figures.plays[:SHOWN], figures.plays[SHOWN:]
    for play in shown:
        _decided(table, Text(play, colour(play)), figures, [play])
    if others:
        _decided(table, Text(f"{len(others)} more", "dim"), figures, others)
    table.add_row(Text("all", "bold"), f"[bold]{figures.triggers.total():,}[/]", "", "")
    return Panel(table, title="plays", title_align="left", border_style="dim")


def _decided(table: Table, name: Text, figures: Figures, plays: Iterable[str]) -> None:
    """A row: triggers, and what stopped the others."""
    stopped, sent = Counter[str](), 0
    for play in plays:
        sent += figures.triggers[play]
        stopped.update({code: n for code, n in figures.decided(play).items() if code != "emitted"})
    table.add_row(name, f"{sent:,}", f"{stopped.total():,}", _reasons(stopped))


def colour(play: str) -> str:
    """The same for a play wherever it is shown."""
    return COLOURS[crc32(play.encode()) % len(COLOURS)]


def triggers(figures: Figures, rows: int) -> RenderableType:
    """The newest triggers, newest first."""
    table = Table(expand=True, box=None, padding=(0, 1), header_style="dim")
    table.add_column("simulated time", no_wrap=True)
    table.add_column("play", no_wrap=True)
    table.add_column("customer", no_wrap=True)
    table.add_column("channel", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
    for each in list(figures.emitted)[: -rows - 1 : -1]:
        after = Text("timer", "dim") if each.latency is None else Text(shown_ms(each.latency))
        play = Text(each.play, colour(each.play))
        table.add_row(log_time(each.at), play, short(each.customer), each.channel, after, Text(each.detail))
    body: RenderableType = table if figures.emitted else Group(Text(_WAITING, "dim"))
    return Panel(body, title="triggers", title_align="left", border_style="dim")


def dead_letters(figures: Figures) -> RenderableType:
    """One line: how many, by reason."""
    reasons = _reasons(figures.dead)
    line = Text.assemble((" dead letters ", "dim"), f"{figures.dead.total():,}  ", (reasons, "dim"))
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def footer(figures: Figures) -> RenderableType:
    """Where the live screens are, and what the keys do."""
    where = (
        (" live screens: ", "dim"),
        (figures.url or "starting", f"bold link {figures.url}" if figures.url else "dim"),
    )
    line = Text.assemble(*where, ("   Ctrl-C stops the retailer, drains the flows and prints the account", "dim"))
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _lag(figures: Figures) -> str:
    shown = {flow: lag for flow, lag in figures.lag.items() if lag or flow != "learn"}
    return "  ".join(f"{flow} {'-' if lag is None else format(lag, ',')}" for flow, lag in shown.items()) or "-"


def _reasons(counts: Counter[str]) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in counts.most_common())


def _model(figures: Figures) -> str:
    if not figures.models:
        return "prior, until labels mature"
    return f"no. {figures.models}  {figures.learned:,} examples"


def _bands(figures: Figures) -> str:
    counts = Counter(figures.bands.values())
    return "  ".join(f"{band} {counts[band]:,}" for band in BANDS)
