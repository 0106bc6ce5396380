"""Records, batches and times: what is sent again is the same bytes, and the same moment is the same number."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

from collectord.records import Batch, Record, Repaired, digest, iso_time, milliseconds, parse_time

lines = st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"") + b"\n"), min_size=2, max_size=40)


# -------------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("compress", [True, False])
def test_batch_holds_its_lines(compress):
    batch = Batch.finish(b"1\n2\n", 2, compress=compress)
    assert batch.encoding == ("gzip" if compress else "identity")
    assert batch.lines() == b"1\n2\n"
    assert (igzip.decompress(batch.body) if compress else batch.body) == b"1\n2\n"


def test_no_two_batches_have_one_id():
    assert Batch.finish(b"1\n", 1, compress=False).id != Batch.finish(b"1\n", 1, compress=False).id


@pytest.mark.parametrize("compress", [True, False])
@given(lines)
def test_split_keeps_every_line_in_order(compress, chosen):
    batch = Batch.finish(b"".join(chosen), len(chosen), compress=compress)
    first, second = batch.split()
    assert first.lines() + second.lines() == batch.lines()
    assert first.count + second.count == batch.count
    assert abs(first.count - second.count) <= 1
    assert (first.encoding, second.encoding) == (batch.encoding, batch.encoding)


@pytest.mark.parametrize("compress", [True, False])
@given(lines)
def test_split_again_is_the_same_batches_with_the_same_ids(compress, chosen):
    batch = Batch.finish(b"".join(chosen), len(chosen), compress=compress)
    assert batch.split() == batch.split()


def test_every_part_of_a_batch_has_an_id_of_its_own():
    def parts(batch):
        return [batch] if batch.count == 1 else [batch, *(part for half in batch.split() for part in parts(half))]

    ids = [part.id for part in parts(Batch.finish(b"x\n" * 13, 13, compress=True))]
    assert len(set(ids)) == len(ids) == 25


def test_split_never_parts_the_lines_of_one_record():
    """A layout may give every record several lines."""
    first, second = Batch("id", 3, b"a1\na2\nb1\nb2\nc1\nc2\n").split()
    assert (first.lines(), first.count) == (b"a1\na2\n", 1)
    assert (second.lines(), second.count) == (b"b1\nb2\nc1\nc2\n", 2)


def test_compressed_bytes_do_not_depend_on_the_moment():
    first, second = (Batch.finish(b"x\n" * 1000, 1000, compress=True) for _ in range(2))
    assert first.body == second.body


# -------------------------------------------------------------------------------------------------------------- records


def test_record_knows_whether_it_was_repaired():
    assert Record(Repaired(b"{}"), "1").repaired
    assert not Record(b"{}", "1").repaired
    assert not Record(msgspec.Raw(b"{}"), "1").repaired
    assert msgspec.structs.replace(Record(Repaired(b"{}"), "1"), id="2").repaired


def test_digest_is_of_the_content():
    assert digest(b'{"a":1}') == digest(msgspec.Raw(b'{"a":1}')) == "2c6b113b8dd15ffbded9860b43eb0c6c"
    assert digest(b'{"a":1}') != digest(b'{"a":2}')


# ---------------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2026-09-01T00:00:01.234Z", 1788220801234),
        ("2026-09-01T02:00:01.234567+02:00", 1788220801234),
        ("2026-09-01T00:00:01.2349999999Z", 1788220801234),
        ("2026-09-01T00:00:01", 1788220801000),
        (" 2026-09-01 00:00:01Z ", 1788220801000),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-09-01", 1788220800000),
    ],
)
def test_time_is_read(written, ms):
    assert parse_time(written) == ms


@pytest.mark.parametrize(
    "written", ["", "now", "2026-13-01T00:00:00Z", "2026-09-01T00:00:01 PST", None, 5, 1.5, [], {}]
)
def test_what_is_no_time_is_none(written):
    assert parse_time(written) is None


@given(st.text())
def test_no_text_is_too_strange_to_be_no_time(written):
    assert parse_time(written) is None or isinstance(parse_time(written), int)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-11.5))])))
def test_the_same_moment_is_the_same_number_in_every_zone(moment):
    try:
        elsewhere = moment.astimezone(UTC)
    except OverflowError:
        return
    assert milliseconds(moment) == milliseconds(elsewhere) == milliseconds(elsewhere.replace(tzinfo=None))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))  # noqa: DTZ001  strategies want them so
def test_a_written_time_is_read_back(moment):
    ms = milliseconds(moment)
    assert parse_time(iso_time(ms)) == ms
    assert iso_time(ms).endswith("Z")
    assert len(iso_time(ms)) == len("2026-09-01T00:00:00.000Z")
