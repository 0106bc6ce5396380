"""The fields schema of a running daemon: a reload changes what is delivered, of sources made by the API as well."""

from __future__ import annotations

import json

from structlog.testing import capture_logs

from collectord.config import Configuration
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.settings import CollectorSettings, DaemonSettings
from collectord.settings.fields import FieldsSchema
from tests.management.conftest import SINK, eventually
from tests.management.test_collectors import TOKEN, create, made


async def test_a_reload_changes_which_fields_are_delivered_and_says_so_once(site):
    site.sink._layout = "envelope"
    okta = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    async with okta.serve():
        await create(site, made(okta, fields={"team": "iam", "owner": "kim"}))
        assert await fields_of_the_next_record(site, okta) == {"team": "iam", "owner": "kim"}
        for schema, expected, said in (
            (FieldsSchema(known=("team",)), {"team": "iam"}, "so okta-api delivers records without it"),
            (FieldsSchema(known=("team",), auto_add=True), {"team": "iam", "owner": "kim"}, "since auto_add is set"),
        ):
            with capture_logs() as lines:
                await reload(site, schema)
            warned = [line for line in lines if line["event"] == "configuration warning"]
            assert [(line["source"], line["field"]) for line in warned] == [("okta-api", "owner")]
            assert said in warned[0]["reason"]
            assert await fields_of_the_next_record(site, okta) == expected
        shown = (await site.get("/api/v1/collectors/1/sources/okta-api"))["source"]
        assert shown["config"]["fields"] == {"team": "iam", "owner": "kim"}  # a schema that grows brings them back


async def test_a_source_made_with_an_unknown_field_is_warned_of(site):
    await reload(site, FieldsSchema(known=("team",)))
    okta = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    async with okta.serve():
        with capture_logs() as lines:
            await create(site, made(okta, fields={"taem": "iam"}))
    (warned,) = [line for line in lines if line["event"] == "configuration warning"]
    assert "did you mean team?" in warned["reason"]


async def reload(site, schema: FieldsSchema) -> None:
    collector = CollectorSettings(name="soc-1", fields_schema=schema)
    daemon = DaemonSettings(collector=collector, sinks={"default": SINK})
    await site.plant.catalogue.apply(Configuration(daemon, {}, frozenset(), ()))


async def fields_of_the_next_record(site, okta: OktaSimulator) -> dict[str, str]:
    before = len(site.sink.stored)
    okta.issue(1)
    await site.poll_until("okta-api", lambda: len(site.sink.stored) > before)
    await eventually(lambda: site.plant.outbox.by_sink["default"].records == 0)
    fields: dict[str, str] = json.loads(site.sink.lines[-1])["fields"]
    return fields
