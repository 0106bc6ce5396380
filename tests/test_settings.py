import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from collectord.settings import (
    DAY,
    MINUTE,
    DaemonSettings,
    Duration,
    HttpSinkSettings,
    Size,
    SourceConfig,
    SourceOptions,
    SourceSettings,
    is_loopback,
    notation,
    parse_duration,
    parse_origin,
    parse_size,
    parse_url,
)
from collectord.sources import SOURCE_TYPES, netskope, okta, sailpoint, sentinelone
from collectord.sources.okta.config import OktaConfig
from collectord.sources.sailpoint.config import SailPointConfig

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
hosts = st.from_regex(r"[a-z][a-z0-9-]{0,9}(\.[a-z][a-z0-9]{1,6}){1,3}", fullmatch=True)


# ------------------------------------------------------------------------------------------------ durations and sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("12h", 43200),
        ("7d", 604800),
        ("90", 90),
        (" 1.5 h ", 5400),
        (60, 60),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


NO_DURATIONS = ["", "5 minutes", "5M", "1h30m", "-5s", "1e3", "٣s", "inf", "9" * 99]  # fmt: skip
NO_DURATIONS_EITHER: list[object] = [True, None, [], float("nan"), float("inf"), -1]


@pytest.mark.parametrize("text", [*NO_DURATIONS, *NO_DURATIONS_EITHER], ids=repr)
def test_no_durations(text):
    with pytest.raises(ValueError, match=r"^must be a duration "):
        parse_duration(text)


@given(
    number=st.integers(0, 3000),
    unit=st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("", 1)]),
    space=st.sampled_from(["", " "]),
)
def test_any_duration_is_its_number_of_seconds(number, unit, space):
    assert parse_duration(f"{number}{space}{unit[0]}") == pytest.approx(number * unit[1])


@pytest.mark.parametrize(("text", "size"), [("512KiB", 524288), ("1 MiB", 2**20), ("1GiB", 2**30), ("7", 7), (8, 8)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1MB", "1M", "1.5MiB", "-1", -2, 1.5, True, None, "9" * 15 + "TiB"])
def test_no_sizes(text):
    with pytest.raises(ValueError, match=r"^must be a size "):
        parse_size(text)


@given(
    number=st.integers(0, 2**20), unit=st.sampled_from([("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)])
)
def test_any_size_is_its_number_of_bytes(number, unit):
    assert parse_size(f"{number}{unit[0]}") == number << unit[1]


@given(value=anything)
@pytest.mark.parametrize("name", ["parse_duration", "parse_size", "parse_then", "parse_start", "parse_field"])
def test_any_value_is_read_or_refused_in_words_that_do_not_hold_it(name, value):
    try:
        getattr(notation, name)(value)
    except ValueError as error:
        assert not isinstance(value, str) or len(value) < 6 or value not in str(error)  # noqa: PT017


@given(seconds=st.floats(0, 10 * DAY) | st.integers(0, 10**6))
def test_a_setting_that_was_read_can_be_read_again(seconds):
    once = TypeAdapter(Duration).validate_python(seconds)
    assert TypeAdapter(Duration).validate_python(once) == once
    assert TypeAdapter(Size).validate_python(TypeAdapter(Size).validate_python(int(seconds))) == int(seconds)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("24h", DAY),
        (60, 60),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01t02:00:00.5+02:00", "2026-11-01T00:00:00.500000+00:00"),
    ],
)
def test_starts(text, start):
    assert SourceOptions(start=text).start == start
    assert SourceOptions(start=start).start == start


# ------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("acme.okta.com", "https://acme.okta.com"),
        (" HTTPS://Acme.Okta.com/a/b?c=d#e ", "https://acme.okta.com"),
        ("https://acme.okta.com:443/", "https://acme.okta.com"),
        ("acme.okta.com.", "https://acme.okta.com"),
        ("acme.okta.com:8443", "https://acme.okta.com:8443"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:80/", "http://[::1]"),
        ("https://[2001:db8::1]:9", "https://[2001:db8::1]:9"),
    ],
)
def test_origins(text, origin):
    assert parse_origin(text) == origin
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://",
        "http://acme.okta.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "http://0.0.0.0",
        "http://2130706433",
        "http://127.1",
        "ftp://acme.okta.com",
        "https://me@acme.okta.com",
        "https://me:you@acme.okta.com",
        "acme okta.com",
        "acme.okta.com:0",
        "acme.okta.com:99999",
        "acme.okta.com:port",
        "https://[::1",
        "https://acme\\.okta.com",
        "https://acme.okta.com\n.example.com",
        "-acme.okta.com",
        "https://ac\uff05me.com",
    ],
)
def test_no_origins(text):
    with pytest.raises(ValueError, match=r"^must "):
        parse_origin(text)


@given(
    text=st.text(max_size=40)
    | hosts
    | st.builds("{}://{}{}".format, st.sampled_from(["http", "https"]), hosts, st.text())
)
def test_nothing_but_this_machine_is_reached_without_tls(text):
    try:
        origin = parse_origin(text)
    except ValueError:
        return
    assert origin.startswith("https://") or is_loopback(parse_url(origin).hostname or "")


@pytest.mark.parametrize("listen", ["127.0.0.1:8484", "localhost:0", "[::1]:65535", "0.0.0.0:80"])
def test_listens(listen):
    assert notation.parse_listen(listen) == listen


@pytest.mark.parametrize(
    "listen", ["8484", ":8484", "::1:8484", "127.0.0.1:", "127.0.0.1:65536", "a b:1", "127.0.0.1:٣"]
)
def test_no_listens(listen):
    with pytest.raises(ValueError, match=r"^must be an address and a port"):
        notation.parse_listen(listen)


# ------------------------------------------------------------------------------------------------ vendors


def okta_config(**changes):
    return OktaConfig.model_validate({"name": "it", "domain": "acme.okta.com", "apiKey": "secret", **changes})


def sailpoint_config(**changes):
    given = {"name": "it", "org_name": "acme", "client_id": "a", "client_secret": "b", "supported_apis": ["Events"]}
    return SailPointConfig.model_validate(given | changes)


def sentinelone_config(**changes):
    given = {"name": "it", "base_url": "https://acme.example.net", "api_secret": "a", "supported_apis": ["agents"]}
    return sentinelone.SentinelOneConfig.model_validate(given | changes)


def netskope_config(**changes):
    return netskope.NetskopeConfig.model_validate({"name": "it", "tenantID": "acme", "apiToken": "secret", **changes})


@pytest.mark.parametrize(
    ("domain", "origin"),
    [
        ("acme.okta.com", "https://acme.okta.com"),
        ("https://acme-admin.okta.com/admin/dashboard", "https://acme.okta.com"),
        ("acme-admin.okta-emea.com", "https://acme.okta-emea.com"),
        ("acme-admin.oktapreview.com/", "https://acme.oktapreview.com"),
        ("acme.okta-gov.com", "https://acme.okta-gov.com"),
        ("login-admin.example.com", "https://login-admin.example.com"),
    ],
)
def test_okta_domains(domain, origin):
    assert okta.origin(okta_config(domain=domain)) == origin


def test_okta_event_types():
    config = okta_config(collectAll=False, eventTypes=" user.session.start , user.session.end,user.session.start,")
    assert config.event_types == ["user.session.start", "user.session.end"]
    assert okta_config(eventTypes="a.b").event_types == []
    with pytest.raises(ValidationError, match="eventTypes must name at least one"):
        okta_config(collectAll=False, eventTypes=" , ")


@pytest.mark.parametrize(
    ("tenant", "origin"),
    [
        ("acme", "https://acme.api.identitynow.com"),
        ("Acme.identitynow.com", "https://acme.api.identitynow.com"),
        ("https://acme.api.identitynow.com/", "https://acme.api.identitynow.com"),
        ("acme.login.identitynow.com", "https://acme.api.identitynow.com"),
        ("acme.identitynow-demo.com", "https://acme.api.identitynow-demo.com"),
        ("https://acme.api.identitynow-demo.com", "https://acme.api.identitynow-demo.com"),
    ],
)
def test_sailpoint_tenants(tenant, origin):
    config = sailpoint_config(org_name=tenant)
    assert sailpoint.origin(config) == origin
    assert sailpoint.origin(sailpoint_config(org_name=config.org_name)) == origin


@pytest.mark.parametrize(
    "tenant", ["", "a b", "sso.acme.com", "acme.identitynow.com.evil.example", "acme/x", "http://acme"]
)
def test_no_sailpoint_tenants(tenant):
    with pytest.raises(ValidationError, match=r"must be your tenant's name"):
        sailpoint_config(org_name=tenant)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://acme.sentinelone.net/", "https://acme.sentinelone.net"),
        ("acme.sentinelone.net", "https://acme.sentinelone.net"),
        ("https://acme.sentinelone.net/web/api/v2.1?x=y", "https://acme.sentinelone.net"),
        ("https://console.corp:8443", "https://console.corp:8443"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    ],
)
def test_sentinelone_consoles(url, origin):
    assert sentinelone.origin(sentinelone_config(base_url=url)) == origin


@pytest.mark.parametrize(
    ("tenant", "origin"),
    [
        ("acme", "https://acme.goskope.com"),
        ("acme.eu", "https://acme.eu.goskope.com"),
        ("acme.goskope.com", "https://acme.goskope.com"),
        ("https://Acme.eu.goskope.com/ns#/home", "https://acme.eu.goskope.com"),
    ],
)
def test_netskope_tenants(tenant, origin):
    config = netskope_config(tenantID=tenant)
    assert netskope.origin(config) == origin
    assert netskope.origin(netskope_config(tenantID=config.tenantID)) == origin


@pytest.mark.parametrize("tenant", ["", "acme.example.com", "acme.com", "a b", "http://acme.goskope.com", "a@b"])
def test_no_netskope_tenants(tenant):
    with pytest.raises(ValidationError, match=r"must be what stands before \.goskope\.com"):
        netskope_config(tenantID=tenant)


ALL_OF_NETSKOPE = (
    *("alert", "application", "audit", "infrastructure", "network", "page", "connection", "incident", "endpoint"),
)


@pytest.mark.parametrize(
    ("make", "changes", "streams"),
    [
        (okta_config, {}, ["events"]),
        (okta_config, {"users": True}, ["events", "users"]),
        (sailpoint_config, {"supported_apis": ["Users", "Events"]}, ["events", "users"]),
        (sailpoint_config, {"supported_apis": ["Users"]}, ["users"]),
        (sentinelone_config, {"supported_apis": ["agents", "activities", "agents"]}, ["activities", "agents"]),
        (netskope_config, {}, ALL_OF_NETSKOPE),
        (netskope_config, {"eventTypes": ["ALL"]}, ALL_OF_NETSKOPE),
        (netskope_config, {"eventTypes": ["Page", "all"]}, ALL_OF_NETSKOPE),
        (netskope_config, {"eventTypes": ["Page", "alert", "audit"]}, ["alert", "audit", "page"]),
    ],
    ids=str,
)
def test_selected_streams(make, changes, streams):
    config = make(**changes)
    (row,) = (row for row in SOURCE_TYPES.values() if isinstance(config, row.config))
    assert list(row.selected(config)) == list(streams)


def test_the_table_of_the_interface():
    table = {
        name: ({stream: kind.interval_seconds for stream, kind in row.streams.items()}, row.after_window)
        for name, row in SOURCE_TYPES.items()
    }
    five = 5 * MINUTE
    assert table == {
        "Okta": ({"events": five, "users": DAY}, 60 * MINUTE),
        "SailPoint": ({"events": five, "users": DAY / 2}, "quit"),
        "SentinelOne Mgmt API": ({"activities": five, "threats": five, "agents": five}, 60 * MINUTE),
        "Netskope": (dict.fromkeys(ALL_OF_NETSKOPE, five), "quit"),
    }


def test_intervals_win_over_the_polling_interval():
    source = SourceSettings(type="Okta", config=okta_config(pollingInterval=30))
    assert (source.interval_seconds("events"), source.interval_seconds("users")) == (30, None)
    source = SourceSettings(type="Okta", config=okta_config(), options=SourceOptions(intervals={"events": 7}))
    assert source.interval_seconds("events") == 7


# ------------------------------------------------------------------------------------------------ models


def test_a_source_without_a_retry_of_its_own_has_that_of_its_type():
    assert SourceOptions().retry.policy("quit").model_dump() == {
        "initial": 1,
        "max": 300,
        "window": 5400,
        "then": "quit",
    }
    mine = SourceOptions.model_validate({"retry": {"max": "1h", "then": 0.5}}).retry.policy("quit")
    assert mine.model_dump() == {"initial": 1, "max": 3600, "window": 5400, "then": 0.5}


def test_custom_fields_are_text():
    config = SourceConfig.model_validate({"name": "a", "fields": {"_siemForward": "True", "b": True, "n": 7, "t": "x"}})
    assert config.siem_forward
    assert config.custom_fields == {"b": "true", "n": "7", "t": "x"}
    assert not SourceConfig(name="a").siem_forward


def test_equal_whatever_the_file_is_called_and_different_with_another_secret():
    one = SourceSettings(type="Okta", config=okta_config(), file="a.yaml")
    assert one == SourceSettings(type="Okta", config=okta_config(), file="b.yaml")
    assert one != SourceSettings(type="Okta", config=okta_config(apiKey="other"))
    assert one != SourceSettings(type="Okta", config=okta_config(), options=SourceOptions(enabled=False))


def test_nothing_shows_a_secret():
    sink = HttpSinkSettings.model_validate(
        {
            "type": "http",
            "url": "https://a.example.com/secret",
            "headers": {"Authorization": "Bearer secret"},
        }
    )
    daemon = DaemonSettings.model_validate(
        {
            "sinks": {"a": sink},
            "management": {"listen": "127.0.0.1:1", "access_key": "secret"},
        }
    )
    options = SourceOptions.model_validate({"proxy": "http://me:secret@proxy"})
    source = SourceSettings(type="Okta", config=okta_config(), options=options)
    for model in (daemon, source):
        assert "secret" not in repr(model) + str(model) + model.model_dump_json() + repr(model.model_dump())


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        okta_config().users = True
