"""The Dockerfile without an engine: its context as .dockerignore leaves it, and its first stage run in a clean folder.

::

    python -m tests.image FOLDER --python python3.12     # builds FOLDER/opt/touchstream, tries a few commands

What this does not try: the base image itself, and what an engine does with USER, HEALTHCHECK and STOPSIGNAL.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Where the image keeps what the first stage made.
PREFIX = "/opt/touchstream"


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """(instruction, arguments), continued lines joined, comments gone."""
    text = "\n".join(line for line in dockerfile.splitlines() if not line.startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def context(to: Path) -> None:
    """Copy what the engine would be sent: .dockerignore excludes all but what it names."""
    kept = [line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in kept:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, to / name)


def build(folder: Path, python: str) -> Path:
    """Run the first stage with ``folder`` for the root of the file system; the folder of its programs."""
    sent, work, prefix = folder / "context", folder / "build", folder / PREFIX.strip("/")
    for each in (sent, work, folder / "bin"):
        each.mkdir(parents=True)
    context(sent)
    (folder / "bin" / "python").symlink_to(shutil.which(python) or python)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    stages = 0
    for word, rest in instructions((ROOT / "Dockerfile").read_text()):
        stages += word == "FROM"
        if stages == 2:
            break
        if word == "COPY":
            for source in rest.split()[:-1]:
                shutil.copytree(sent, work, dirs_exist_ok=True) if source == "." else shutil.copy(sent / source, work)
        elif word == "RUN":
            command = rest.replace(PREFIX, str(prefix))
            subprocess.run(["sh", "-c", command], cwd=work, check=True, env={"PATH": path, "HOME": str(folder)})
    return prefix / "bin"


def main() -> None:
    """Build, then try what needs no servers, from an empty folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="python3.12")
    options = parser.parse_args()
    programs = build(options.folder.resolve(), options.python)
    empty = options.folder.resolve() / "empty"
    empty.mkdir()
    for arguments in (["--version"], ["config", "init"], ["plays", "show", "--starter"], ["run", "--help"]):
        done = subprocess.run(
            [programs / "touchstream", *arguments], cwd=empty, capture_output=True, text=True, check=True
        )
        print(" ".join(arguments), "->", done.stdout.splitlines()[0])


if __name__ == "__main__":
    main()
