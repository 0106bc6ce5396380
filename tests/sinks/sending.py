"""From records to what a stand-in holds: a sink of ours, batches, and their delivery through outbox and lanes."""

from contextlib import asynccontextmanager

import anyio
from pydantic import TypeAdapter

from collectord.records import Metadata, Record
from collectord.settings.sinks import AnySinkSettings
from collectord.sinks import open_sink
from tests.fakes import acceptance, open_outbox
from tests.test_delivering import delivering

SETTINGS: TypeAdapter[AnySinkSettings] = TypeAdapter(AnySinkSettings)
METADATA = Metadata(
    "soc-1", "okta-prod", "sec/okta", "events", 1_790_000_000_000, fields={"env": "prod"}, source_type="Okta"
)


def near(far, session, **options):
    return open_sink(SETTINGS.validate_python(far.settings(**options)), session)


def records(count, *, filler=b"", first=0):
    return [
        Record(b'{"uuid":"id-%d","filler":"%s"}' % (at, filler), f"id-{at}", 1_789_999_000_000 + at, "user.x")
        for at in range(first, first + count)
    ]


def raw(of):
    return [bytes(record.raw) for record in of]


def one_batch(sink, *args, **options):
    (batch,) = sink.encode(records(*args, **options), METADATA)
    return batch


@asynccontextmanager
async def delivered(tmp_path, sink, *batches):
    """Through outbox and lanes until nothing waits; gives the outbox."""
    async with (
        open_outbox(tmp_path) as outbox,
        delivering(outbox, sink, initial=0.01, max=0.02) as delivery,
    ):
        await outbox.accept(acceptance(1, *batches))
        with anyio.fail_after(20):
            while outbox.by_sink["default"].records:
                await outbox._room.wait()
        assert delivery.status.state == "Healthy"
        yield outbox
