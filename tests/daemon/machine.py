"""A machine to try the unit on: this one's own systemd and /usr, booted anew in half a second by systemd-nspawn.

Its root, /etc and /var are empty and vanish with it. It shares this machine's network, so that a vendor and a sink
in the test's own process are at 127.0.0.1 for it too. Only the daemon, installed as systemd/README.md says, and its
folder /etc/collectord are bound into it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "systemd" / "collectord.service"
HOME = Path("/opt/collectord")


def cannot(reason: str) -> NoReturn:
    """Skip where something is missing, but not in CI, where nobody would notice."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need(*tools: str) -> None:
    if os.geteuid() != 0:
        cannot("booting a systemd needs root")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        cannot(f"not installed: {', '.join(missing)} (Debian, Ubuntu: apt install systemd-container util-linux)")


def interpreter() -> Path:
    """A Python that another user may run: not one in somebody's home."""
    asks = "import sys; print(sys.version_info >= (3, 11), sys._base_executable)"
    for candidate in ("/usr/bin/python3", sys.executable):
        found = (
            subprocess.run([candidate, "-c", asks], capture_output=True, text=True, check=False)
            if Path(candidate).exists()
            else None
        )
        if found is None or found.returncode:
            continue
        new_enough, _, path = found.stdout.strip().partition(" ")
        real = Path(path).resolve()
        if new_enough == "True" and real.parts[1] not in {"root", "home"}:
            return real
    cannot("no Python 3.11 or newer outside of a home: the unit's user could not run it")


def install(into: Path, python: Path) -> None:
    """The commands of systemd/README.md, with `into` standing in for /opt/collectord.

    A private mount namespace puts it there for as long as that takes, since scripts in it hold its path.
    """
    pip = f"{sys.executable} -m pip --disable-pip-version-check --quiet --python {HOME}/bin/python"
    script = f"""
        mount --bind {into} {HOME}
        {python} -m venv --without-pip {HOME}
        {pip} install --require-hashes --requirement requirements.txt
        PATH={HOME}/bin:$PATH {pip} install --no-deps --no-build-isolation .
    """
    with mount_point():
        command = ["unshare", "--mount", "sh", "-ec", script]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def mount_point() -> Iterator[None]:
    """/opt/collectord, be it for so long only. One run at a time: removing it would undo another's mount."""
    with Path(tempfile.gettempdir(), "collectord-tests.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = not HOME.exists()
        HOME.mkdir(exist_ok=True)
        try:
            yield
        finally:
            if made:
                HOME.rmdir()


class Machine:
    """Runs commands in it as its root; `configuration` is its /etc/collectord."""

    def __init__(self, pid: int, configuration: Path) -> None:
        self.pid = pid
        self.configuration = configuration

    def run(self, *command: str, check: bool = True, given: str | None = None, timeout: float = 60) -> str:
        """What it printed; `check` fails the test with what it complained of."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", *command],
            capture_output=True, text=True, check=False, input=given, timeout=timeout, start_new_session=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if check else f"{done.stdout}{done.stderr}"

    def succeeds(self, *command: str) -> bool:
        return (
            subprocess.run(
                ["nsenter", "--target", str(self.pid), "--all", *command], capture_output=True, check=False, timeout=60
            ).returncode
            == 0
        )

    def systemctl(self, verb: str, *words: str) -> None:
        told = self.run("systemctl", verb, *words, "collectord.service", check=False)
        assert told == "", "\n".join([told, *(str(entry.get("MESSAGE")) for entry in self.journal()[-20:])])

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.run("systemctl", "show", "--value", "--property", name, "collectord.service").strip()

    def main_pid(self) -> int:
        return int(self.show("MainPID"))

    def kill(self, word: str) -> int:
        """Send the main process a signal; its number in the machine."""
        pid = self.main_pid()
        assert pid > 1, "not running: 0 would be this test's own process group"
        self.run("kill", f"-{word}", str(pid))
        return pid

    def drop_in(self, text: str) -> None:
        """As `systemctl edit --runtime` would."""
        self.run(
            "install",
            "-D",
            "/dev/stdin",
            "/run/systemd/system/collectord.service.d/test.conf",
            given=f"[Service]\n{text}\n",
        )
        self.run("systemctl", "daemon-reload")

    def journal(self) -> list[dict[str, Any]]:
        """The entries of the unit since the machine was booted or `forget` was called."""
        text = self.run("journalctl", "--unit=collectord.service", "--output=json", "--no-pager")
        return [json.loads(line) for line in text.splitlines()]

    def forget(self) -> None:
        """Everything of the unit's life so far: state, failures, drop-ins."""
        self.run("systemctl", "stop", "collectord.service", check=False)
        self.run("systemctl", "reset-failed", "collectord.service", check=False)
        self.run(
            "sh",
            "-c",
            "rm -rf /var/lib/private/collectord /var/lib/collectord /run/systemd/system/collectord.service.d",
        )
        self.run("systemctl", "daemon-reload")
        self.run("journalctl", "--rotate", check=False)
        self.run("journalctl", "--vacuum-time=1us", check=False)


@contextmanager
def booted(program: Path, python: Path, configuration: Path, console: Path) -> Iterator[Machine]:
    """Boot it with the real unit, and power it off in the end."""
    binds = [
        f"--bind-ro={program}:{HOME}",
        f"--bind={configuration}:/etc/collectord",
        f"--bind-ro={UNIT}:/etc/systemd/system/{UNIT.name}",
    ]
    if python.parts[1] != "usr":  # the tool cache of a CI runner
        binds.append(f"--bind-ro={python.parent.parent}")
    command = (
        "setpriv --pdeathsig=TERM systemd-nspawn --quiet --directory=/ --volatile=yes --register=no --keep-unit"
        f" --console=pipe --machine=collectord-{os.getpid()} {shlex.join(binds)}"
        " --boot systemd.unit=basic.target systemd.mask=systemd-firstboot.service"
    )
    with console.open("wb") as output:
        container = subprocess.Popen(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    leader = 0
    try:
        if (
            not eventually(lambda: container.poll() is not None or child_of(container.pid), 10)
            or container.poll() is not None
        ):
            cannot(f"systemd-nspawn does not boot here: {console.read_text(errors='replace')[-500:]}")
        leader = child_of(container.pid)
        machine = Machine(leader, configuration)
        if not eventually(lambda: machine.succeeds("systemctl", "is-active", "basic.target"), 30):
            cannot(f"systemd does not come up in systemd-nspawn: {console.read_text(errors='replace')[-500:]}")
        yield machine
    finally:
        power_off(container, leader)


def power_off(container: subprocess.Popen[bytes], leader: int) -> None:
    container.terminate()
    try:
        container.wait(20)
    except subprocess.TimeoutExpired:
        if leader:
            os.kill(leader, signal.SIGRTMIN + 4)  # nspawn's death alone would leave the machine running
        time.sleep(1)
        container.kill()
        container.wait()


def child_of(pid: int) -> int:
    """The first process whose parent this is, 0 if there is none."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if fields[1] == str(pid):
            return int(stat.parent.name)
    return 0


def eventually(holds: Callable[[], Any], seconds: float = 20) -> bool:
    """Whether it holds before the time is over. Other processes give no event to wait for."""
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True
