"""The calls of Sumo's Collector Management API, as its scripts make them (sumo-c2c.md section 6)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from collectord import log
from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.errors import ConfigError
from collectord.kept import KeptSources, find_key
from collectord.outbox import StreamKey
from collectord.settings import Environment
from tests.management.conftest import KEPT_BY, eventually

TOKEN = "00CaNaRy-token-of-the-test"
ALL = "/api/v1/collectors/1/sources"
CONFIG = {"name": "x", "domain": "acme.okta.com", "apiKey": TOKEN}
NETSKOPE = {"name": "okta-api", "tenantID": "acme", "apiToken": TOKEN}
NO_SOURCE = [b"", b"{", b"[]", b"null", b'{"source": []}', b'{"sources": []}', b"[" * 500 + b"]" * 500, b"\xff"]


@pytest.fixture
async def okta() -> AsyncIterator[OktaSimulator]:
    simulator = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    async with simulator.serve():
        yield simulator


def made(okta: OktaSimulator, name: str = "okta-api", **config: Any) -> dict[str, Any]:
    """The body of a POST: a source that collects from this simulator."""
    return {
        "source": {
            "schemaRef": {"type": "Okta"},
            "sourceType": "Universal",
            "config": {"name": name, "domain": "acme.okta.com", "apiKey": TOKEN, **config},
            "collectord": {"base_url": okta.base_url, "start": "1d"},
        }
    }


async def create(site, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    reply = await site.ask("POST", ALL, body)
    assert reply.status == 201, reply
    return reply.json["source"], reply.headers["ETag"]


# ------------------------------------------------------------------------------------------------------ looking


async def test_this_collector_is_listed_and_found_by_id_and_by_name(site):
    (listed,) = (await site.get("/api/v1/collectors"))["collectors"]
    assert (listed["id"], listed["name"], listed["alive"]) == (1, "soc-1", True)
    for path in ("/api/v1/collectors/1", "/api/v1/collectors/soc-1", "/api/v1/collectors/name/soc-1"):
        reply = await site.ask("GET", path)
        assert reply.json["collector"]["name"] == "soc-1"
        assert reply.headers["ETag"] == (await site.ask("GET", path)).headers["ETag"]


async def test_another_collector_is_said_to_be_invalid(site):
    for path in ("/api/v1/collectors/2", "/api/v1/collectors/2/sources", "/api/v1/collectors/2/sources/1"):
        refused = await site.get(path, 404)
        assert refused["code"] == "collectors.collector.invalid"
        assert refused.keys() == {"status", "id", "code", "message"}


async def test_sources_are_listed_in_sumos_shape(site):
    await site.start("a", "b")
    listed = (await site.get(ALL))["sources"]
    assert [source["config"]["name"] for source in listed] == ["a", "b"]
    for source in listed:
        assert source["schemaRef"] == {"type": "Script"}
        assert source["sourceType"] == "Universal"
        assert source["alive"] is True
        assert source["state"]["state"] in {"Pending", "Started", "Initialized", "Authenticated", "Collecting"}
        assert (await site.get(f"{ALL}/{source['id']}"))["source"]["config"] == source["config"]


async def test_an_unknown_source_is_said_with_those_there_are(site):
    await site.start("a", "b")
    refused = await site.get(f"{ALL}/c", 404)
    assert refused["code"] == "InvalidSource"
    assert "a, b" in refused["message"]


async def test_a_download_is_a_source_file(site, okta):
    source, etag = await create(site, made(okta))
    reply = await site.ask("GET", f"{ALL}/{source['id']}?download=true")
    assert reply.headers["ETag"] == etag
    assert reply.json["api.version"] == "v1"
    assert reply.json["source"].keys() == {"schemaRef", "sourceType", "config", "collectord"}
    assert (await site.get(f"{ALL}?download=true"))["sources"] == [reply.json["source"]]


async def test_the_etag_is_the_same_until_the_source_changes(site, okta):
    source, etag = await create(site, made(okta))
    path = f"{ALL}/{source['id']}"
    assert (await site.ask("GET", path)).headers["ETag"] == etag
    await site.ask("PUT", path, made(okta, category="new"), If_Match=etag)
    assert (await site.ask("GET", path)).headers["ETag"] != etag


# ----------------------------------------------------------------------------------------------------- creating


async def test_a_source_made_here_collects(site, okta):
    okta.issue(7)
    source, _ = await create(site, made(okta))
    assert source["config"]["apiKey"] == "********"
    assert TOKEN not in str(source)
    await eventually(lambda: len(site.sink.lines) == 7)
    assert (await site.get(f"{ALL}/okta-api"))["source"]["id"] == source["id"]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"schemaRef": {"type": "Oktaa"}}, "InvalidSourceType", "did you mean Okta"),
        ({"schemaRef": {}}, "EmptySourceType", "schemaRef"),
        ({"config": {"name": "x"}}, "createValidationError", "config.apiKey: is missing"),
        ({"config": {**CONFIG, "apiKey": "********"}}, "createValidationError", "masked"),
        ({"config": {**CONFIG, "apiKey": "${file:/etc/passwd}"}}, "createValidationError", "in files only"),
        ({"colour": "red"}, "createValidationError", "colour"),
        ({"collectord": {"sinks": ["nowhere"]}}, "createValidationError", "no such sink"),
    ],
)
async def test_a_wrong_source_is_refused_with_place_and_reason(site, okta, change, code, says):
    body = made(okta)
    body["source"] |= change
    reply = await site.ask("POST", ALL, body)
    assert (reply.status, reply.json["code"]) == (400, code)
    assert says in reply.json["message"]
    assert (await site.get(ALL))["sources"] == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"source": []}', b'{"sources": []}', b"[" * 500 + b"]" * 500, b"\xff"]
)
async def test_a_body_that_holds_no_source_is_refused(site, body):
    reply = await site.ask("POST", ALL, body, Content_Type="application/json")
    assert (reply.status, reply.json["code"]) == (400, "badrequest")


async def test_a_name_is_taken_by_a_file_or_by_another(site, okta):
    await site.start("of-a-file")
    await create(site, made(okta))
    for name in ("of-a-file", "okta-api"):
        reply = await site.ask("POST", ALL, made(okta, name))
        assert (reply.status, reply.json["code"]) == (400, "DuplicateResourceName")


async def test_whole_seconds_are_shown_as_integers_as_sumo_has_them(site, okta):
    source = made(okta)
    source["source"]["config"]["pollingInterval"] = "5m"
    shown, _ = await create(site, source)
    assert shown["config"]["pollingInterval"] == 300
    assert isinstance(shown["config"]["pollingInterval"], int)


async def test_without_a_key_nothing_is_kept_and_it_is_said_how_to_make_one(site, okta):
    site.plant.catalogue.kept._seal = None
    reply = await site.ask("POST", ALL, made(okta))
    assert reply.status == 409
    assert "source_key" in reply.json["message"]
    assert (await site.get(ALL))["sources"] == []


async def test_before_it_is_ready_nothing_can_be_changed(site, okta):
    site.plant.is_ready = False
    reply = await site.ask("POST", ALL, made(okta))
    assert (reply.status, reply.json["code"]) == (503, "service.unavailable")


# ----------------------------------------------------------------------------------------------------- changing


async def test_a_change_needs_the_version_that_it_changes(site, okta):
    source, etag = await create(site, made(okta))
    path, body = f"{ALL}/{source['id']}", made(okta, category="sec/okta")
    missing = await site.ask("PUT", path, body)
    assert (missing.status, missing.json["code"]) == (428, "precondition.required")
    wrong = await site.ask("PUT", path, body, If_Match='"0"')
    assert (wrong.status, wrong.json["code"]) == (412, "precondition.failed")
    right = await site.ask("PUT", path, body, If_Match=etag)
    assert right.json["source"]["config"]["category"] == "sec/okta"
    again = await site.ask("PUT", path, body, If_Match=etag)
    assert again.status == 412


async def test_what_was_got_can_be_put_back_and_the_secret_is_as_it_was(site, okta):
    source, etag = await create(site, made(okta))
    path = f"{ALL}/{source['id']}"
    got = (await site.get(path))["source"]
    assert got["config"]["apiKey"] == "********"
    got["config"]["description"] = "changed"
    changed = await site.ask("PUT", path, {"source": got}, If_Match=etag)
    assert changed.status == 200, changed
    okta.issue(3)
    await site.poll_until("okta-api", lambda: len(site.sink.lines) == 3)
    assert okta.violations == []


async def test_a_secret_that_is_not_given_anew_goes_to_its_own_vendor_only(site, okta):
    source, etag = await create(site, made(okta))
    path = f"{ALL}/{source['id']}"
    got = (await site.get(path))["source"]
    for options in (
        {"base_url": "https://evil.example"},
        {"base_url": okta.base_url, "proxy": "http://evil.example:1"},
    ):
        got["collectord"] = options
        reply = await site.ask("PUT", path, {"source": got}, If_Match=etag)
        assert reply.status == 400
        assert "must be given anew" in reply.json["message"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": {**CONFIG, "name": "other"}}, "identity"),
        (
            {
                "schemaRef": {"type": "Netskope"},
                "config": NETSKOPE,
                "collectord": {},
            },
            "schemaRef.type",
        ),
    ],
)
async def test_name_and_type_cannot_change(site, okta, change, says):
    source, etag = await create(site, made(okta))
    body = made(okta)
    body["source"] |= change
    reply = await site.ask("PUT", f"{ALL}/{source['id']}", body, If_Match=etag)
    assert reply.status == 400
    assert says in reply.json["message"]


async def test_a_source_of_a_file_is_changed_there(site, okta):
    await site.start("of-a-file")
    for method, body in (("PUT", made(okta, "of-a-file")), ("DELETE", None)):
        reply = await site.ask(method, f"{ALL}/of-a-file", body, If_Match="*")
        assert (reply.status, reply.json["code"]) == (400, "CannotModifySources")
        assert "sources.d/of-a-file.yaml" in reply.json["message"]
    assert len((await site.get(ALL))["sources"]) == 1


# ----------------------------------------------------------------------------------------------------- deleting


async def test_a_deleted_source_is_stopping_and_then_gone(site, okta):
    source, _ = await create(site, made(okta))
    path = f"{ALL}/{source['id']}"
    async with site.plant.supervisor._turn:  # a reload is at work: stopping has to wait
        assert (await site.ask("DELETE", path)).status == 200
        assert (await site.get(path))["source"]["state"]["state"] == "Stopping"
        assert (await site.ask("DELETE", path)).status == 404
    await eventually(lambda: "okta-api" not in site.plant.supervisor.running)
    assert (await site.get(path, 404))["code"] == "InvalidSource"
    await create(site, made(okta))


async def test_a_source_that_is_made_anew_goes_on_from_its_checkpoint(site, okta):
    okta.issue(4)
    await create(site, made(okta))
    await eventually(lambda: len(site.sink.lines) == 4)
    await site.ask("DELETE", f"{ALL}/okta-api")
    await eventually(lambda: "okta-api" not in site.plant.supervisor.running)
    okta.issue(2)
    await create(site, made(okta))
    await eventually(lambda: len(site.sink.lines) == 6)


# ----------------------------------------------------------------------------------------------------- keeping


async def test_what_is_kept_survives_and_holds_no_secret_in_clear(site, okta, tmp_path):
    _, etag = await create(site, made(okta))
    await site.ask("POST", f"{ALL}/okta-api/action/pause")
    store = site.plant.catalogue.kept._store
    again = KeptSources(store, KEPT_BY)
    await again.load()
    assert again.sources["okta-api"].document["config"]["apiKey"] == TOKEN
    assert again.sources["okta-api"].revision == etag.strip('"')
    assert again.paused == {"okta-api"}
    files = [path.read_bytes() for path in (tmp_path / "state").iterdir() if path.is_file()]
    assert b"okta-api" in b"".join(files)
    assert TOKEN.encode() not in b"".join(files)


async def test_a_wrong_key_opens_nothing_and_loses_nothing(site, okta):
    await create(site, made(okta))
    store = site.plant.catalogue.kept._store
    for key in ("another key, which is long enough", None):
        other = KeptSources(store, key)
        await other.load()
        assert (other.sources, other.unreadable) == ({}, ["okta-api"])
    again = KeptSources(store, KEPT_BY)
    await again.load()
    assert list(again.sources) == ["okta-api"]


def test_the_key_is_a_credential_or_else_a_variable(tmp_path):
    variable = Environment(collectord_source_key=SecretStr("v" * 32), credentials_directory=str(tmp_path))
    assert find_key(Environment()) is None
    assert find_key(variable) == "v" * 32
    (tmp_path / "collectord_source_key").write_text("f" * 32 + "\n")
    assert find_key(variable) == "f" * 32
    (tmp_path / "source_key").write_text("too short")
    with pytest.raises(ConfigError, match="openssl rand"):
        find_key(variable)


async def test_a_file_of_the_same_name_counts_and_it_is_said(site, okta):
    await create(site, made(okta))
    await site.start("okta-api")
    assert (await site.get(f"{ALL}/okta-api"))["source"]["schemaRef"]["type"] == "Script"
    await site.start()
    assert (await site.get(f"{ALL}/okta-api"))["source"]["schemaRef"]["type"] == "Okta"


async def test_a_reload_leaves_sources_made_here_alone(site, okta):
    await create(site, made(okta))
    before = site.plant.supervisor.running["okta-api"]
    await site.start("another")
    assert site.plant.supervisor.running["okta-api"] is before


async def test_secrets_given_here_are_blotted_out_of_the_log(site, okta, capfd):
    await create(site, made(okta))
    log.get().info("what a vendor said", text=f"token {TOKEN} is fine")
    assert TOKEN not in capfd.readouterr().err


# ------------------------------------------------------------------------------------------------------ acting


async def test_pause_holds_until_resume_whatever_is_reloaded(site):
    await site.start("a")
    await site.ask("POST", f"{ALL}/a/action/pause")
    await site.start("a")
    assert (await site.get(f"{ALL}/a"))["source"]["state"] == {"state": "Paused"}
    await site.ask("POST", f"{ALL}/a/action/resume")
    await eventually(lambda: site.plant.supervisor.running["a"].status.state.value == "Collecting")
    assert site.plant.catalogue.kept.paused == set()


async def test_poll_asks_the_vendor_now(site):
    await site.start("a")
    collector = (await eventually(lambda: site.plant.supervisor.running["a"].collectors))[0]
    await eventually(lambda: site.streams["a"].cursors and collector.nap._scope is not None)
    site.streams["a"].issue(1)
    assert (await site.ask("POST", f"{ALL}/a/action/poll")).status == 200
    await eventually(lambda: len(site.sink.lines) == 1)


async def test_restart_goes_on_from_the_checkpoint(site):
    await site.start("a")
    await eventually(lambda: "a" in site.streams)
    site.streams["a"].issue(2)
    await site.poll_until("a", lambda: site.plant.outbox.checkpoint(StreamKey("a", "events")) == {"at": 2})
    before = site.plant.supervisor.running["a"]
    reply = await site.ask("POST", f"{ALL}/a/action/restart")
    assert reply.status == 200
    assert site.plant.supervisor.running["a"] is not before
    site.streams["a"].issue(1)
    await site.poll_until("a", lambda: len(site.sink.lines) == 3)


async def test_an_unknown_action_is_refused(site):
    await site.start("a")
    reply = await site.ask("POST", f"{ALL}/a/action/explode")
    assert (reply.status, reply.json["code"]) == (404, "notfound")


# ---------------------------------------------------------------------------------------------- a thousand of them


async def test_a_thousand_sources_are_told_in_less_than_a_second(site):
    await site.start(*(f"source-{number}" for number in range(1000)))
    for path in ("/api/v1/status", ALL, "/api/v1/healthEvents", "/metrics"):
        started = time.perf_counter()
        reply = await site.ask("GET", path)
        assert time.perf_counter() - started < 1, path
        assert reply.status == 200
    assert len((await site.get(ALL))["sources"]) == 1000
