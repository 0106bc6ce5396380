"""Processing rules do what Sumo's documentation says, on bytes, in linear time."""

import json
import string
import time

import pytest

from collectord.records import Record, Repaired
from collectord.rules import Rules, compile_pattern, fault_of
from collectord.settings import FilterSettings


def rule(kind, regexp, mask=None, name="a rule"):
    return FilterSettings(name=name, filterType=kind, regexp=regexp, mask=mask)


def after(line, *filters, algorithm="MD5"):
    kept = Rules(filters, algorithm).apply([Record(line, "1")])
    return bytes(kept[0].raw) if kept else None


SSO = b'{"eventType":"user.authentication.sso","who":"dan@demo.com"}'
PING = b'{"eventType":"system.agent.ad.ping"}'


def test_include_keeps_what_matches_one_of_them_as_a_whole():
    sso = rule("Include", r'.*"eventType":"user\.authentication.*')
    ping = rule("Include", r".*ping.*")
    assert after(SSO, sso) == SSO
    assert after(PING, sso) is None
    assert after(PING, sso, ping) == PING


def test_a_match_of_a_part_is_no_match():
    assert after(SSO, rule("Include", "user")) is None
    assert after(SSO, rule("Exclude", "user")) == SSO


@pytest.mark.parametrize(
    ("pattern", "line", "matches"),
    [
        (r".*user\.auth.*", SSO, True),
        (r".*user.auth.*", SSO, True),
        (r".*userXauth.*", SSO, False),
        (r".*user\\.auth.*", SSO, False),
        (r".*us*er.*", SSO, True),
        (r".*zs*|.*user.*", SSO, True),
        (r".*USER.*", SSO, False),
        (r".*(?i)USER.*", SSO, True),
        (r".*\Quser\E.*", SSO, True),
        (r".*user\.*", SSO, False),
        (r".+user.*", SSO, True),
        (r".*[u]ser.*", SSO, True),
        (r".*\{.*", SSO, True),
        (r".*user$.*", SSO, False),
        (r".*\d\d.*", SSO, False),
        (r".*søk.*", '{"q":"søk"}'.encode(), True),
        (r".*.*", SSO, True),
    ],
)
def test_a_pattern_for_a_text_somewhere_is_not_taken_for_another(pattern, line, matches):
    assert (after(line, rule("Exclude", pattern)) is None) is matches


def test_every_sign_that_may_be_escaped_means_itself():
    for sign in string.punctuation.replace("_", ""):
        assert compile_pattern(rf".*\{sign}.*").fullmatch(f"a{sign}b".encode())
        assert after(f"a{sign}b".encode(), rule("Exclude", rf".*\{sign}.*")) is None
        assert after(b"a b", rule("Exclude", rf".*\{sign}.*")) == b"a b"


def test_a_repaired_record_stays_marked_when_a_rule_changes_it():
    record = Record(Repaired(SSO), "1")
    assert Rules([rule("Hash", '"who":"([^"]+)"')], "MD5").apply([record])[0].repaired


def test_exclude_beats_include():
    assert after(PING, rule("Include", ".*"), rule("Exclude", ".*ping.*")) is None


def test_patterns_with_a_flag_at_the_end_are_taken():
    assert after(SSO, rule("Exclude", "(?s).*sso.*(?s)")) is None


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("MD5", b"38357ee995993f047cce95db89b536b8"),
        ("SHA-256", b"906e9cc124c8e1085b10e1cec4cc6526f3637558be361d3b4bb54bb537e49a49"),
    ],
)
def test_hash_is_the_documented_one(algorithm, digest):
    hashed = after(SSO, rule("Hash", r'"who":"([^"]+)"'), algorithm=algorithm)
    assert hashed == SSO.replace(b"dan@demo.com", digest)


def test_mask_replaces_every_group_of_every_match_and_keeps_what_is_around():
    line = b'{"a":"ip=10.0.0.1 to 10.0.0.2","b":"ip=10.0.0.3 to 10.0.0.4"}'
    masked = after(line, rule("Mask", r"ip=([\d.]+) to ([\d.]+)", "#IP#"))
    assert masked == b'{"a":"ip=#IP# to #IP#","b":"ip=#IP# to #IP#"}'


def test_the_documented_mask_keeps_its_anchors():
    line = b'{"m":"auth=User:AAA1234]"}'
    assert after(line, rule("Mask", r"auth=User:(.*)\]", "AAA")) == b'{"m":"auth=User:AAA]"}'


def test_a_mask_grows_a_text_five_times_at_most():
    line = b'{"m":"1234567"}'
    masked = json.loads(after(line, rule("Mask", r'"m":"([^"]*)"', "x" * 38)))
    assert masked["m"] == "x" * 35


def test_hash_comes_before_mask():
    line = b'{"m":"dan@demo.com"}'
    both = after(line, rule("Mask", "([a-f0-9]{32})", "#", name="mask"), rule("Hash", r'"m":"([^"]+)"', name="hash"))
    assert both == b'{"m":"#"}'


def test_bytes_that_no_rule_touches_are_not_touched():
    line = b'{ "n" : 123456789012345678901234567890, "n":1e400, "s":"\\u00e9\xc3\xa9" }'
    records = [Record(line, "1")]
    kept = Rules([rule("Mask", r'"password":"([^"]*)"', "#")], "MD5").apply(records)
    assert kept[0] is records[0]


def test_a_rule_that_breaks_json_still_makes_a_line_of_json_and_hides_what_it_should():
    masked = after(b'{"secret":"x"}', rule("Mask", r'(\{"secret":"x")', "#"))
    assert json.loads(masked) == "#}"


def test_the_identity_of_a_record_stays():
    (kept,) = Rules([rule("Mask", "(dan)", "#")], "MD5").apply([Record(SSO, "id-1", 5, "t")])
    assert (kept.id, kept.time_ms, kept.event_id) == ("id-1", 5, "t")


@pytest.mark.parametrize(
    ("regexp", "says"),
    [
        ("ab(?=c)", r"\(\?= at character 3"),
        (r"(a)\1", r"\\1 at character 4"),
        ("a{1001}", r"\{1001\} at character 2"),
        ("(a", r"missing \)"),
    ],
)
def test_a_pattern_that_re2_refuses_is_named_with_its_position(regexp, says):
    with pytest.raises(ValueError, match=says):
        compile_pattern(regexp)


@pytest.mark.parametrize("kind", ["Hash", "Mask"])
def test_hash_and_mask_need_a_group(kind):
    assert "capture group" in (fault_of(rule(kind, "abc", "#" if kind == "Mask" else None)) or "")
    assert fault_of(rule(kind, "(abc)", "#" if kind == "Mask" else None)) is None


def test_an_evil_pattern_takes_linear_time():
    line = b"a" * 500_000 + b"b"
    began = time.perf_counter()
    after(line, rule("Exclude", "(a+)+$"))
    assert time.perf_counter() - began < 1.0  # `re` needs half a second for 24 letters, and twice that for each more
