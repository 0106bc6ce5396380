"""The log's last fence: no secret in any writing, nothing that another's text could forge."""

import base64
import io
import json
import logging
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from collectord import log

CANARY = 'canary/7f+3"a\\b é'
TOKEN = "00aBcDeFgHiJkLmNoPqRsTuVwXyZ"
FORGING = {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010), *range(0x2028, 0x202F)]}
FORGING |= {chr(code) for code in [0x061C, *range(0x2060, 0x2070), 0xFEFF]}
anything = st.text(st.characters(), max_size=40)


@contextmanager
def written(form: str, *secrets: str) -> Iterator[io.StringIO]:
    """What is logged inside; afterwards the log is as if nothing had been."""
    root, before = logging.getLogger(), sys.stderr
    level, handlers, hooks = root.level, root.handlers[:], (sys.excepthook, threading.excepthook)
    sys.stderr = io.StringIO()
    try:
        log.configure("info", form, frozenset(secrets))
        root.handlers[:] = [log._handler]
        yield sys.stderr
    finally:
        sys.stderr = before
        log.configure("info", "json", frozenset())
        logging.captureWarnings(capture=False)
        root.setLevel(level)
        root.handlers[:] = handlers
        sys.excepthook, threading.excepthook = hooks


def raise_with_secret_locals() -> None:
    password = TOKEN  # noqa: F841  what a traceback with local variables would print
    raise ValueError("no")


# ----------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_prints_no_local_variables(form):
    with written(form) as stream:
        try:
            raise_with_secret_locals()
        except ValueError:
            log.get().exception("failed")
    assert "raise_with_secret_locals" in stream.getvalue()
    assert TOKEN not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_that_says_a_secret_has_it_blotted_out(form):
    inner = KeyError(CANARY)
    inner.add_note(CANARY)
    group = ExceptionGroup("several", [ValueError(CANARY), ValueError(json.dumps({"a": CANARY}))])
    group.__cause__ = inner
    with written(form, CANARY) as stream:
        log.get().error("failed", error=ValueError(CANARY), exc_info=group)
    assert stream.getvalue().count(log.MASK) == 3 + (form == "console") * 2
    assert "7f+3" not in stream.getvalue()


def writings(secret: str) -> Iterator[str]:
    """Ways in which a secret comes into an error's text."""
    octets = secret.encode()
    yield secret
    yield repr(secret)
    yield repr(octets)
    yield repr([{"key": secret}])
    yield ascii(secret)
    yield json.dumps(secret)
    yield json.dumps(secret, ensure_ascii=False)
    yield json.dumps({"said": json.dumps({"key": secret})})
    yield repr(json.dumps({"key": secret}))
    yield repr(json.dumps({"key": secret}).encode())
    yield urllib.parse.quote(secret)
    yield urllib.parse.quote(secret, safe="")
    yield urllib.parse.urlencode({"key": secret})
    yield str(yarl.URL.build(scheme="https", host="a.example", path="/key=" + secret))
    yield str(yarl.URL("https://a.example/").with_query(key=secret))
    for user in ("", "a", "ab", "abc", "admin"):
        for suffix in ("", ":x"):
            pair = f"{user}:{secret}{suffix}".encode()
            yield "Basic " + base64.b64encode(pair).decode()
            yield base64.urlsafe_b64encode(pair).decode()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Z", "Cc"]), min_size=6, max_size=30))
def test_a_secret_is_blotted_out_however_it_is_written(secret):
    log.update_secrets(frozenset({secret}))
    for text in writings(secret):
        assert log.MASK in log._redact(text), text
        assert secret not in log._redact(text).replace(log.MASK, "\0")


def test_nothing_of_the_secret_stays_in_basic_authentication():
    log.update_secrets(frozenset({TOKEN}))
    for user in ("a", "ab", "abc"):
        shown = log._redact(base64.b64encode(f"{user}:{TOKEN}".encode()).decode())
        assert len(shown.replace(log.MASK, "")) <= 12


@given(st.lists(st.text("abc", min_size=6, max_size=9), max_size=4), st.text("abc", max_size=60))
def test_overlapping_secrets_are_blotted_out_whole(secrets, text):
    log.update_secrets(frozenset(secrets))
    found = [(at, at + len(each)) for each in secrets for at in range(len(text)) if text.startswith(each, at)]
    hidden = {place for begin, end in found for place in range(begin, end)}
    assert log._redact(text).replace(log.MASK, "") == "".join(c for place, c in enumerate(text) if place not in hidden)


@given(st.text(min_size=6), anything, st.dictionaries(anything, anything, max_size=3))
def test_a_line_with_secrets_blotted_out_is_still_json(secret, text, values):
    with written("json", secret) as stream:
        log.get().info("x", text=text + secret + text, values=[{**values, secret: secret}], number=12345678)
    line = json.loads(stream.getvalue())
    if len(secret.strip()) >= 6:
        assert secret.strip() not in line["text"].replace(log.MASK, "\0")


def test_secrets_change_at_reload():
    with written("json", "old-secret") as stream:
        log.update_secrets(frozenset({"new-secret", "12345678", "short"}))
        log.get().info("x", old="old-secret", new="a new-secret b", number=12345678, other=1234567, short="short")
    line = json.loads(stream.getvalue())
    shown = [line[name] for name in ("old", "new", "number", "other", "short")]
    assert shown == ["old-secret", "a ******** b", "********", 1234567, "short"]


def test_ten_thousand_secrets_do_not_slow_a_line_down():
    with written("json", *(f"{number:06d}-secret-of-a-source" for number in range(10_000))):
        began = time.process_time()
        for _ in range(500):
            log.get().info("page_fetched", stream="events", records=1000, url="https://acme.okta.com/api/v1/logs")
    assert time.process_time() - began < 0.5  # a millisecond each; 25 microseconds were measured


# ----------------------------------------------------------------------------------------------------- forgery


@pytest.mark.parametrize("form", ["json", "console"])
@given(event=anything, value=anything, name=anything)
def test_no_text_can_forge_a_line(form, event, value, name):
    with written(form) as stream:
        log.get(**{f"_{name}": 1}).info(event, value=value, nested=[value], error=ValueError(value))
        logging.getLogger("aiohttp").info("%s", value)
    first, second, rest = stream.getvalue().split("\n")
    assert rest == ""
    assert not FORGING & set(first + second)
    assert len(stream.getvalue().splitlines()) == 2


@given(text=anything)
def test_no_exception_can_forge_a_line(text):
    with written("console") as stream:
        log.get().error("failed", exc_info=ValueError(f"a\n2026-11-21T00:00:00.000Z info forged\r{text}"))
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("    ") for line in rest)
    assert not FORGING & set("".join(rest))


def test_a_value_cannot_forge_another_value():
    with written("console") as stream:
        log.get().info("x", text="a level=error source=okta", empty="", quote='"', number=1, path="/a/b.yaml:3")
    values = stream.getvalue().partition(" x ")[2].strip()
    assert values == r'text="a level=error source=okta" empty="" quote="\"" number=1 path=/a/b.yaml:3'
