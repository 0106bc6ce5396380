"""Disks that go wrong: full, read-only, and failing at a chosen write."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def needs(condition: bool, what: str) -> None:
    """Skip the test on a machine without `what`; in CI that is a failure."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI this test must run: it needs {what}")
    pytest.skip(f"needs {what}")


@contextmanager
def small_disk(path: Path, *, mebibytes: int = 24) -> Iterator[Path]:
    """A file system of its own at `path`."""
    needs(os.geteuid() == 0, "root, to mount a small disk")
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", path], check=False)
    needs(mounted.returncode == 0, "permission to mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def make_read_only(path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)


def fill(path: Path, *, but: int = 0) -> Path:
    """Write a file beside ours until `but` bytes are left; removing it is what the operator does."""
    filler = path / "somebody-elses-file"
    with filler.open("ab", buffering=0) as file:
        for piece in (2**20, 2**12):
            space = os.statvfs(path)
            while space.f_bavail * space.f_frsize >= but + piece:
                file.write(b"x" * piece)
                space = os.statvfs(path)
    return filler


def python(script: str, *arguments: object, strace: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with faults injected into its system calls."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    if strace:
        needs(shutil.which("strace") is not None, "strace")
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={strace}", *command]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
