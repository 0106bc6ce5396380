"""The benchmark itself works; these numbers are too small to say anything."""

import os
import re

import pytest

from tests.benchmark.__main__ import main


@pytest.fixture(autouse=True)
def cores():
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def figures(printed, row):
    line = next(line for line in printed.splitlines() if line.startswith(row))
    return [float(figure.replace(",", "")) for figure in re.findall(r"[\d.,]+", line.removeprefix(row))]


def test_full_speed(capsys):
    assert main(["--records", "3500", "--pairs", "1", "--sources", "2", "--latency", "1", "--gzip"]) == 0
    printed = capsys.readouterr().out
    assert all(0.1 < figure < 10_000 for figure in figures(printed, "CPU-s per million records"))
    assert all(10 < figure < 1_000 for figure in figures(printed, "peak RSS, MiB")[:2])


def test_idle(capsys):
    assert main(["--idle", "20", "--interval", "2"]) == 0
    assert figures(capsys.readouterr().out, "polls")[:2] == pytest.approx([20, 20], abs=1)
