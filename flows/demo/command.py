"""The command ``touchstream demo``: options in, page or lines while it runs, account and exit status out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import Console

from flows.demo import account
from flows.demo.figures import Figures
from flows.demo.lines import Lines
from flows.demo.machinery import FLOW_LOG, OWN_LOG, Folder, logs_to
from flows.demo.options import Options, read
from flows.demo.page import Page
from flows.demo.run import Display, Run
from schemas.errors import ConfigError, TouchstreamError


def main(given: Mapping[str, Any]) -> int:
    """Run the demo with the command line's options; the exit status: 0 when the account closes.

    1 when it does not or something failed, 2 for bad options, 130 when stopped before it ran.
    """
    try:
        return _run(read(given))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except TouchstreamError as error:
        print(f"touchstream demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("touchstream demo: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who read our lines has gone; Python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _run(options: Options) -> int:
    figures = Figures()
    with Folder() as folder, logs_to(folder.path / OWN_LOG):
        try:
            with _display(figures, options) as display:
                settled = Run(options, folder.path, figures, display).to_the_end()
        except TouchstreamError as error:
            raise TouchstreamError(f"{error}\nAll logs: {folder.keep()}") from error
        print("\n".join(account.lines(settled, figures)))
        if settled.restarts or not settled.closes:
            print(f"  {settled.restarts} restarts of flows; their logs: {folder.keep() / FLOW_LOG}")
        if options.json:
            print(msgspec.json.encode(settled).decode())
        sys.stdout.flush()
    return 0 if settled.closes else 1


def _display(figures: Figures, options: Options) -> Display:
    console = Console()
    if console.is_terminal and not console.is_dumb_terminal:
        return Page(figures, _title(options), console)
    return Lines(figures, lambda line: print(line, flush=True))


def _title(options: Options) -> str:
    return (
        f"{options.rate:,.0f} touchpoints/s of {options.shop:,} customers, {options.speed / 86_400:.3g} days a second"
    )
