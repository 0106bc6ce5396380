"""Custom fields that the schema knows are delivered; others are left out and named, or added and named."""

from pathlib import Path

import pytest

from collectord.config import Configuration, load
from collectord.metadata import metadata_of
from collectord.settings import Environment

DAEMON = """
state: {{directory: state}}
sinks: {{default: {{type: http, url: "https://lake.example.com/"}}}}
collector: {{fields: {{env: prod, zone: b}}{schema}}}
"""
OKTA = """
source:
  schemaRef: {type: Okta}
  config:
    name: okta-prod
    domain: acme.okta.com
    apiKey: ${file:token}
    fields: {team: iam, owner: kim, _parser: mine, _siemForward: true}
"""


def loaded(path: Path, schema: str) -> Configuration:
    (path / "sources.d").mkdir()
    (path / "token").touch(0o600)
    (path / "token").write_text("token-of-a-test")
    (path / "collectord.yaml").write_text(DAEMON.format(schema=schema))
    (path / "sources.d" / "okta.yaml").write_text(OKTA)
    return load(path / "collectord.yaml", Environment())


def delivered(configuration: Configuration) -> dict[str, str]:
    settings = configuration.sources["okta-prod"]
    return dict(metadata_of(configuration.daemon.collector, settings, "events", {}, inventory=False).fields)


ALL = {"env": "prod", "zone": "b", "team": "iam", "owner": "kim", "_parser": "mine"}


@pytest.mark.parametrize("schema", ["", ", fields_schema: null", ", fields_schema: {auto_add: false}"])
def test_without_a_schema_every_field_is_delivered_and_nothing_is_said(tmp_path, schema):
    configuration = loaded(tmp_path, schema)
    assert delivered(configuration) == ALL
    assert configuration.warnings == ()


def test_an_unknown_field_is_left_out_with_a_warning_that_names_file_source_and_field(tmp_path):
    configuration = loaded(tmp_path, ", fields_schema: {known: [env, Team]}")
    assert delivered(configuration) == {"env": "prod", "_parser": "mine"}
    here, how = "is not in collector.fields_schema.known", "records without it: add it there, or set auto_add"
    fields = "sources.d/okta.yaml: source.config.fields"
    assert [str(warning) for warning in configuration.warnings] == [
        f"collectord.yaml: collector.fields.zone: {here}, so every source delivers {how}",
        f"{fields}.team: {here} (did you mean Team?), so okta-prod delivers {how}",
        f"{fields}.owner: {here}, so okta-prod delivers {how}",
    ]
    assert configuration.sources["okta-prod"].config.siem_forward  # the switch is no field


def test_with_auto_add_an_unknown_field_is_delivered_and_named(tmp_path):
    configuration = loaded(tmp_path, ", fields_schema: {known: [env, zone, team], auto_add: true}")
    assert delivered(configuration) == ALL
    (warning,) = configuration.warnings
    assert (warning.file, warning.place) == ("sources.d/okta.yaml", "source.config.fields.owner")
    assert warning.reason.endswith("okta-prod delivers it, since auto_add is set")


def test_an_empty_schema_knows_none(tmp_path):
    configuration = loaded(tmp_path, ", fields_schema: {known: []}")
    assert delivered(configuration) == {"_parser": "mine"}
    assert len(configuration.warnings) == 4
