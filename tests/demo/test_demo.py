"""`collectord demo`, as a user runs it."""

import json
import os
import signal
import subprocess
import sys

import pytest


def demo(folder, *words):
    command = [sys.executable, "-m", "collectord", "demo", "--directory", str(folder / "demo"), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.mark.timeout(120)
def test_it_ends_with_what_was_issued_and_delivered_and_where_it_lies(tmp_path):
    process = demo(tmp_path, "--duration", "12s")
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "Nothing was lost, nothing was altered." in said
    assert "Traceback" not in said
    files = sorted((tmp_path / "demo" / "records").glob("*/*.ndjson"))
    assert len(files) >= 16
    for file in files:
        with file.open(encoding="utf-8") as lines:
            assert "event" in json.loads(lines.readline())


@pytest.mark.timeout(120)
def test_ctrl_c_in_a_terminal_ends_it_in_order(tmp_path):
    process = demo(tmp_path, "--duration", "10m")
    assert process.stdout is not None
    for line in process.stdout:
        if "records issued" in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # the daemon hears it too
    text, _ = process.communicate(timeout=60)
    assert "Traceback" not in text
    assert "The records: " in text
    assert process.returncode == 0, text
