"""Pages into slices: every record passes through as it came, and no odd one holds up the others."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.records import Repaired
from collectord.splitting import Malformed, heads, on_one_line, slices, unwrap

PLAIN = b'{"id":"1","n":2}'
DEEP = b'{"a":' + b"[" * 400 + b"]" * 400 + b"}"
ABYSS = b'{"id":"1","a":' + b'[{"]":' * 100_000 + b"0" + b"}]" * 100_000 + b"}"

SOUND = {
    "an escape that is half a character": b'{"id":"1","name":"\\ud800"}',
    "1e400": b'{"id":"1","n":1e400}',
    "30 digits": b'{"id":"1","n":123456789012345678901234567890}',
    "a fraction of 60 digits": b'{"n":0.100000000000000005551115123125782702118158340454101562}',
    "a key twice": b'{"id":"1","a":1,"a":2}',
    "spaces": b'{ "id" :\t"1" , "n":2 }',
    "escapes": b'{"id":"1","s":"\\u0041\\/\\n\\r\\"\\\\"}',
    "not ASCII": '{"id":"1","s":"é 漢 😀 \u2028"}'.encode(),
    "deep": DEEP,
    "deeper than any parser goes": ABYSS,
    "empty": b"{}",
}

BROKEN = {
    "a byte that is no UTF-8": (b'{"id":"1","s":"a\xffb"}', '{"id":"1","s":"a\ufffdb"}'.encode()),
    "half a character in UTF-8": (b'{"s":"\xed\xa0\x80"}', '{"s":"\ufffd\ufffd\ufffd"}'.encode()),
    "a line break in a string": (b'{"s":"a\nb\r\nc"}', b'{"s":"a\\u000ab\\u000d\\u000ac"}'),
    "a tab in a string": (b'{"s":"a\tb\x00"}', b'{"s":"a\\u0009b\\u0000"}'),
    "a tab in a key": (b'{"a\tb": 1}', b'{"a\\u0009b": 1}'),
    "NaN": (b'{"a":NaN,"b":[-Infinity, Infinity],"c":"NaN"}', b'{"a":null,"b":[null, null],"c":"NaN"}'),
}


def page(*elements: bytes) -> bytes:
    return b"[" + b",".join(elements) + b"]"


class Head(msgspec.Struct):
    id: Any = None
    n: Any = None


# ------------------------------------------------------------------------------------------------------ passing through


@pytest.mark.parametrize("element", SOUND.values(), ids=SOUND)
def test_odd_but_sound_record_passes_through_byte_for_byte(element):
    split = slices(page(PLAIN, element, PLAIN))
    assert [bytes(each) for each in split] == [PLAIN, element, PLAIN]
    assert not any(isinstance(each, Repaired) for each in split)


@pytest.mark.parametrize(("element", "expected"), BROKEN.values(), ids=BROKEN)
def test_record_that_is_no_json_is_repaired_and_marked_and_its_neighbours_are_not(element, expected):
    before, repaired, after = slices(page(PLAIN, element, PLAIN))
    assert bytes(repaired) == expected
    assert json.loads(bytes(repaired), parse_constant=pytest.fail)
    assert isinstance(repaired, Repaired)
    assert (bytes(before), bytes(after)) == (PLAIN, PLAIN)
    assert not isinstance(before, Repaired)
    assert not isinstance(after, Repaired)


def test_odd_records_of_all_kinds_share_a_page():
    """What makes one parser refuse the page must not change what another oddity gets."""
    everything = [*SOUND.values(), *(element for element, _ in BROKEN.values())]
    expected = [*SOUND.values(), *(repaired for _, repaired in BROKEN.values())]
    assert [bytes(each) for each in slices(page(*everything))] == expected


@pytest.mark.parametrize("body", [b"[]", b"[ ]", b" [\r\n] \n", b"\xef\xbb\xbf[]"])
def test_empty_page_has_no_records(body):
    assert slices(body) == []


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf[%s]", b"\n[%s]\n", b"[\n%s\n]", b"[%s,]", b"\t[ %s ]"])
def test_what_stands_around_the_records_does_not_matter(body):
    assert [bytes(each) for each in slices(body % PLAIN)] == [PLAIN]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        PLAIN,
        b'{"errorCode":"E0000011"}',
        b"<!doctype html><html></html>",
        b"[" + PLAIN,
        b"[" + PLAIN + b",",
        b"[" + PLAIN[:-1],
        b"[" + PLAIN[:-4],
        b"[" + PLAIN + PLAIN + b"]",
        b"[" + PLAIN + b"] [",
        b"[" + PLAIN + b"]]",
        b'[{"a":1 "b":2}]',
        b"[,]",
        b'[{"a":"\\x"}]',
        b'[{"a":tru}]',
        b'[{"a":01}]',
        b"[" * 100_000,
        b"[" + ABYSS,
        b"[" + ABYSS[:-1] + b"]",
        b"\xff\xfe[\x00]\x00",
        b"\x1f\x8b\x08",
    ],
    ids=lambda body: f"{body[:20]!r} {body[-4:]!r} {len(body)}",
)
def test_what_is_no_whole_array_is_refused(body):
    with pytest.raises(Malformed):
        slices(body)


@given(st.data())
def test_no_cut_page_is_taken_for_a_whole_one(data):
    chosen = data.draw(
        st.lists(st.sampled_from(sorted({*SOUND.values(), *(b for b, _ in BROKEN.values())} - {ABYSS})), min_size=1)
    )
    whole = page(*chosen)
    with pytest.raises(Malformed):
        slices(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_desert_of_spaces_costs_one_pass():
    desert = b" " * 2_000_000
    body = b"[" + desert + b'{"a":' + desert + b"1,\n" + b'"b":"\t"}' + desert + b"]"
    began = time.perf_counter()
    assert [bytes(each) for each in slices(body)] == [b'{"a":' + desert + b'1,"b":"\\u0009"}']
    assert time.perf_counter() - began < 2


# ------------------------------------------------------------------------------------------------------- pretty-printed


def tokens(value: Any) -> list[str]:
    """The tokens of a value's JSON, in order."""
    match value:
        case dict():
            members = [[json.dumps(key), ":", *tokens(member)] for key, member in value.items()]
            return ["{", *_joined(members), "}"]
        case list():
            return ["[", *_joined([tokens(member) for member in value]), "]"]
        case _:
            return [json.dumps(value)]


def _joined(parts: list[list[str]]) -> list[str]:
    return [token for number, part in enumerate(parts) for token in ([",", *part] if number else part)]


text = st.text(st.characters(exclude_categories=[])) | st.sampled_from(['"', "\\", "\n", "\\n", '\\"', "// \r\n"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(text, values, max_size=4)
spaces = st.text(" \t\r\n", max_size=4)


@given(objects, st.data())
def test_compaction_takes_out_the_white_space_that_holds_a_line_break_and_nothing_else(value, data):
    pretty = expected = ""
    for token in tokens(value):
        space = data.draw(spaces)
        pretty += token + space
        expected += token if {"\r", "\n"} & set(space) else token + space
    assert on_one_line(pretty.encode()) == expected.encode()


@given(st.lists(objects, max_size=3), st.sampled_from([None, 0, 1, 2, "\t", " \t "]), st.sampled_from(["\n", "\r\n"]))
def test_pretty_printed_page_says_the_same_on_lines_of_its_own(page_of, indent, line_break):
    pretty = json.dumps(page_of, indent=indent).replace("\n", line_break).encode()
    split = [bytes(each) for each in slices(pretty)]
    assert [json.loads(each) for each in split] == page_of
    assert not any(b"\n" in each or b"\r" in each for each in split)


@given(objects)
def test_a_record_on_one_line_is_left_as_it_is(value):
    raw = json.dumps(value).encode()
    assert on_one_line(raw) == raw


# ---------------------------------------------------------------------------------------------------------------- heads


def test_fields_are_read_from_every_element():
    body = page(PLAIN, b'{"n":"x","id":null,"more":[1,2]}', b"{}")
    assert heads(body, slices(body), Head) == [Head("1", 2), Head(None, "x"), Head()]


@pytest.mark.parametrize("odd", [*SOUND.values(), *(element for element, _ in BROKEN.values())])
def test_an_odd_record_costs_its_neighbours_nothing(odd):
    body = page(PLAIN, odd, PLAIN)
    found = heads(body, slices(body), Head)
    assert len(found) == 3
    assert found[0] == found[2] == Head("1", 2)
    assert found[1].id in {"1", None}


def test_what_can_be_read_of_an_odd_record_is_read():
    body = page(b'{"id":"\\ud800","n":7}', b'{"id":7,"s":"\\ud800"}', b'{"id":"a\xff"}', b'{"id":"a\n","n":NaN}')
    assert heads(body, slices(body), Head) == [Head("\ud800", 7), Head(7), Head("a\ufffd"), Head("a\n")]


def test_a_field_of_another_type_has_its_default():
    class Strict(msgspec.Struct):
        id: str = ""

    body = page(b'{"id":"1"}', b'{"id":1}')
    assert heads(body, slices(body), Strict) == [Strict("1"), Strict()]


@pytest.mark.parametrize("element", [b"null", b"1", b'"{}"', b"[{}]"])
def test_a_list_of_anything_but_objects_is_no_page(element):
    for body, key in ((page(PLAIN, element), None), (b'{"data":%s}' % page(PLAIN, element), "data")):
        split = slices(body) if key is None else unwrap(body, Wrapped, key)[1]
        with pytest.raises(Malformed, match="no object"):
            heads(body, split, Head, key)


@pytest.mark.parametrize("depth", range(900, 1100, 7))
def test_no_depth_is_read_here_and_refused_there(depth):
    body = page(PLAIN, b'{"id":"2","a":' + b"[" * depth + b"]" * depth + b"}")
    try:
        split = slices(body)
    except Malformed:
        return
    assert heads(body, split, Head)[0] == Head("1", 2)


# -------------------------------------------------------------------------------------------------------------- wrapped


class Wrapped(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    total: int = 0


@pytest.mark.parametrize("element", SOUND.values(), ids=SOUND)
def test_wrapped_record_passes_through_byte_for_byte(element):
    wrapper, split = unwrap(b'{"total":2,"data":%s,"x":{}}' % page(PLAIN, element), Wrapped, "data")
    assert wrapper.total == 2
    assert [bytes(each) for each in split] == [PLAIN, element]
    assert not any(isinstance(each, Repaired) for each in split)


@pytest.mark.parametrize(("element", "expected"), BROKEN.values(), ids=BROKEN)
def test_wrapped_record_that_is_no_json_is_repaired_and_marked(element, expected):
    body = b' { "data" : %s ,\n "total":2}' % page(element, PLAIN)
    wrapper, (repaired, sound) = unwrap(body, Wrapped, "data")
    assert wrapper.total == 2
    assert (bytes(repaired), isinstance(repaired, Repaired)) == (expected, True)
    assert (bytes(sound), isinstance(sound, Repaired)) == (PLAIN, False)
    assert heads(body, [repaired, sound], Head, "data")[1] == Head("1", 2)


@pytest.mark.parametrize("body", [b"{}", b'{"data":null}', b'{"data":[]}', b'{"data":null,"s":"\\ud800"}'])
def test_an_absent_list_is_an_empty_one(body):
    assert unwrap(body, Wrapped, "data")[1] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[{}]',
        b'{"data":[{}}',
        b'{"data":{}}',
        b'{"data":[{}],"total":"many"}',
        b'{"data":[{}]} x',
        b'{"data":[{}],"s":"\t"} x',
        b'{"data":[{}],"s":"\t"',
        b"<html>",
        b'{"a":' * 100_000,
    ],
    ids=lambda body: f"{body[:20]!r} {body[-4:]!r} {len(body)}",
)
def test_what_is_no_whole_wrapper_is_refused(body):
    with pytest.raises(Malformed):
        unwrap(body, Wrapped, "data")
