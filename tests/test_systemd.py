"""Messages to systemd, read from a real datagram socket as systemd would."""

import os
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.systemd import STATUS_CHARACTERS, Notifier, watchdog_interval_seconds


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path) -> Iterator[tuple[socket.socket, str]]:
    """A bound socket, and what systemd would put into `$NOTIFY_SOCKET` for it."""
    path = str(tmp_path / "notify")
    name = path if request.param == "path" else f"@collectord-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        server.settimeout(5)
        yield server, name


@pytest.fixture
def heard(systemd):
    """A notifier, and a function that gives the next datagram's lines."""
    server, name = systemd
    notifier = Notifier(name)
    yield notifier, lambda: server.recv(8192).decode().split("\n")
    assert notifier.dropped == 0
    notifier.close()


def test_ready_carries_its_status(heard):
    notifier, receive = heard
    notifier.ready("3 sources")
    assert receive() == ["READY=1", "STATUS=3 sources"]


def test_reloading_and_its_time_are_one_datagram(heard):
    notifier, receive = heard
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    word, usec = receive()
    assert word == "RELOADING=1"
    name, _, value = usec.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_each_word_is_its_own_datagram(heard):
    notifier, receive = heard
    notifier.watchdog()
    notifier.status("collecting")
    notifier.stopping()
    assert [receive(), receive(), receive()] == [["WATCHDOG=1"], ["STATUS=collecting"], ["STOPPING=1"]]


@pytest.mark.parametrize("text", ["a\nREADY=1", "a\rb", "a\x1b[31mb", "a\u2028b", "a\x85b", "a\u202eb", "a\x00b"])
def test_status_is_one_line_without_control_characters(heard, text):
    notifier, receive = heard
    notifier.status(text)
    (line,) = receive()
    assert line.isprintable()
    assert line.startswith("STATUS=a ")


def test_status_that_systemd_would_refuse_as_too_long_is_cut(heard):
    notifier, receive = heard
    notifier.ready("\U0001f600" * 10_000)
    assert receive() == ["READY=1", "STATUS=" + "\U0001f600" * STATUS_CHARACTERS]


def test_text_that_is_no_utf8_is_sent_all_the_same(heard):
    notifier, receive = heard
    notifier.status("file \udcff.yaml")
    (line,) = receive()
    assert line.startswith("STATUS=file")


@given(st.text())
def test_no_text_can_say_another_word(text):
    address = f"\0collectord-test-{os.getpid()}-any"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(5)
        notifier = Notifier(address.replace("\0", "@"))
        notifier.ready(text)
        notifier.close()
        lines = server.recv(4096).decode("utf-8").split("\n")
    assert len(lines) == 2
    assert lines[0] == "READY=1"


@pytest.mark.parametrize("name", [None, "", "vsock:2:1234", "relative/path"])
def test_without_a_socket_that_we_know_nothing_is_sent(name):
    notifier = Notifier(name)
    notifier.ready("x")
    notifier.reloading()
    notifier.close()
    assert notifier.dropped == 0


def test_a_vanished_socket_is_counted_and_found_again(tmp_path):
    path = str(tmp_path / "notify")
    notifier = Notifier(path)
    notifier.watchdog()
    assert notifier.dropped == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        notifier.watchdog()
        assert server.recv(100) == b"WATCHDOG=1"
    notifier.watchdog()
    assert notifier.dropped == 2
    notifier.close()


def test_a_path_too_long_for_a_socket_is_counted():
    notifier = Notifier("/" + "x" * 200)
    notifier.watchdog()
    assert notifier.dropped == 1
    notifier.close()


def test_a_full_socket_neither_blocks_nor_raises(tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        notifier = Notifier(path)
        began = time.monotonic()
        for _ in range(2000):
            notifier.status("nobody reads this")
        assert time.monotonic() - began < 5
        assert notifier.dropped > 0
        notifier.close()


def test_after_close_nothing_is_sent(tmp_path):
    notifier = Notifier(str(tmp_path / "notify"))
    notifier.close()
    notifier.close()
    notifier.stopping()
    assert notifier.dropped == 0


@pytest.mark.parametrize(
    ("usec", "seconds"), [(None, None), (0, None), (-1, None), (2_000_000, 1.0), (30_000_000, 15.0)]
)
def test_watchdog_is_fed_twice_per_period(usec, seconds):
    assert watchdog_interval_seconds(usec) == seconds
