"""The benchmark itself works; these numbers are too small to say anything."""

import os
import re

import pytest

from tests.benchmark import throughput
from tests.benchmark.__main__ import main
from tests.benchmark.far_side import FarSide
from tests.benchmark.vendors import VENDORS
from tests.management.browser import EXECUTABLE


@pytest.fixture(autouse=True)
def cores():
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def figures(printed, row):
    line = next(line for line in printed.splitlines() if line.startswith(row))
    return [float(figure.replace(",", "")) for figure in re.findall(r"[\d.,]+", line.removeprefix(row))]


@pytest.mark.parametrize("vendor", VENDORS)
def test_full_speed(vendor, capsys):
    words = ["--vendor", vendor, "--records", "3500", "--pairs", "1", "--sources", "2", "--latency", "1", "--gzip"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert all(0.1 < figure < 10_000 for figure in figures(printed, "CPU-s per million records"))
    assert all(10 < figure < 1_000 for figure in figures(printed, "peak RSS, MiB")[:2])


def test_large_pages_and_rules(capsys):
    assert (
        main(["--vendor", "sailpoint", "--records", "12000", "--pairs", "1", "--page-bytes", "9000000", "--rules"]) == 0
    )
    assert figures(capsys.readouterr().out, "CPU-s per million records")[2] > 0.5


def test_a_record_too_few_ends_it(capsys, monkeypatch):
    monkeypatch.setattr(FarSide, "count", lambda _: (99, 100))
    monkeypatch.setattr(throughput, "_QUIET_SECONDS", (1.0,))
    assert main(["--records", "100", "--pairs", "1"]) == 1
    assert "99 records" in capsys.readouterr().err


def test_idle(capsys):
    assert main(["--idle", "20", "--interval", "2"]) == 0
    assert figures(capsys.readouterr().out, "polls")[:2] == pytest.approx([20, 20], abs=1)


@pytest.mark.skipif(EXECUTABLE is None, reason="chromium is not installed: apt install chromium")
def test_page(capsys):
    assert main(["--page", "20", "--interval", "3"]) == 0
    printed = capsys.readouterr().out
    assert figures(printed, "20 sources: all rows after")[0] < 20
    assert float(re.findall(r"([\d.]+) closed", printed)[0]) < 50  # it does not ask again and again
    assert int(re.findall(r"asked (\d+) times", printed)[0]) in {1, 2}
