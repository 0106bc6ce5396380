"""Strangers, foreign pages and greedy callers get nowhere (reliability.md 5.6, rows 73 to 77)."""

import io
import socket
import time

import anyio
import pytest

from collectord.management import bounds
from collectord.management.guard import Guard
from tests.management.conftest import basic, eventually, management

STATUS = "/api/v1/status"
OTHER_SITE = "https://evil.example"


# ------------------------------------------------------------------------------------------------ 73: who asks


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        basic("admin", "wrong"),
        basic("other", "a-key-of-the-test"),
        basic("admin", ""),
        "Basic a-key-of-the-test",
        "Basic ====",
        "Basic \xe9",
        "Bearer a-key-of-the-test",
        "",
    ],
)
async def test_73_without_the_key_nothing_is_told(site, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in [("GET", STATUS), ("GET", "/"), ("POST", "/api/v1/collectors/1/sources/1/action/poll")]:
        reply = await site.ask(method, path, key=None, **headers)
        assert reply.status == 401
        assert reply.json["code"] == "unauthorized"
        assert reply.headers["WWW-Authenticate"].startswith("Basic ")


async def test_73_a_key_in_the_query_is_no_key(site):
    for query in (
        "access_key=a-key-of-the-test",
        "token=a-key-of-the-test",
        "accessId=admin&accessKey=a-key-of-the-test",
    ):
        assert (await site.ask("GET", f"{STATUS}?{query}", key=None)).status == 401


async def test_73_a_key_in_the_address_never_reaches_an_answer(site):
    reply = await site.ask("GET", "/api/v1/nothing?access_key=a-key-of-the-test")
    assert reply.status == 404
    assert b"a-key-of-the-test" not in reply.body


async def test_73_comparing_takes_as_long_for_a_key_that_is_almost_right(site):
    """Of three thousand attempts the medians differ by less than a tenth of what one attempt takes."""
    reply = await site.ask("GET", STATUS)
    assert reply.status == 200
    guard = Guard(management("k" * 64))

    def median(authorization: str) -> float:
        times = []
        for _ in range(3000):
            started = time.perf_counter()
            assert not guard._is_proven(authorization)
            times.append(time.perf_counter() - started)
        return sorted(times)[len(times) // 2]

    far, near = median(basic("admin", "x" * 64)), median(basic("admin", "k" * 63 + "x"))
    assert abs(far - near) < 0.5 * max(far, near)


async def test_73_the_unix_socket_is_guarded_by_its_mode(site):
    assert site.socket.stat().st_mode & 0o777 == 0o660
    assert await site.ask_socket(STATUS) == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_machines_ask_for_up_or_down_without_a_key(site, path):
    site.plant.is_ready = True
    assert (await site.ask("GET", path, key=None)).status == 200
    site.plant.is_ready = False
    assert (await site.ask("GET", "/readyz", key=None)).status == 503


async def test_a_new_key_counts_from_the_reload_on(site):
    authority = site.authority
    await site.listeners.follow(management("another-key-of-the-test"))
    assert site.authority == authority
    assert (await site.ask("GET", STATUS)).status == 401
    assert (await site.ask("GET", STATUS, key="another-key-of-the-test")).status == 200


# ---------------------------------------------------------------------------------------- 74: cross-site requests


async def test_74_a_form_of_a_foreign_page_changes_nothing(site):
    await site.start("okta-prod")
    path = "/api/v1/collectors/1/sources/okta-prod/action/pause"
    foreign = {"Origin": OTHER_SITE, "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}
    for headers in (foreign, {"Origin": OTHER_SITE}, {"Origin": "null"}, {"Sec_Fetch_Site": "same-site"}):
        reply = await site.ask("POST", path, **headers)
        assert (reply.status, reply.json["code"]) == (403, "forbidden")
        assert "Access-Control-Allow-Origin" not in reply.headers
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        reply = await site.ask("POST", path, b"{}", Content_Type=kind)
        assert (reply.status, reply.json["code"]) == (415, "contenttype.invalid")
    state = (await site.get(STATUS))["sources"][0]["state"]["state"]
    assert state != "Paused"


async def test_74_a_preflight_is_refused(site):
    reply = await site.ask("OPTIONS", STATUS, key=None, Origin=OTHER_SITE, Access_Control_Request_Method="PUT")
    assert reply.status == 403
    assert not [name for name in reply.headers if name.lower().startswith("access-control-")]


async def test_74_a_foreign_page_cannot_read(site):
    reply = await site.ask("GET", STATUS, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")
    assert reply.status == 403


async def test_74_our_own_page_may_ask_and_a_link_may_lead_to_it(site):
    await site.start("okta-prod")
    path = "/api/v1/collectors/1/sources/okta-prod/action/poll"
    reply = await site.ask("POST", path, Origin=f"http://{site.authority}", Sec_Fetch_Site="same-origin")
    assert reply.status == 200
    reply = await site.ask("GET", STATUS, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert reply.status == 200


# ------------------------------------------------------------------------------------------- 75: DNS rebinding


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.test:{port}", ""]
)
async def test_75_a_foreign_name_is_refused(site, host):
    port = site.authority.rpartition(":")[2]
    for path in (STATUS, "/healthz", "/"):
        reply = await site.ask("GET", path, Host=host.format(port=port))
        assert reply.status == 403, (host, path)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_75_names_of_loopback_are_ours(site, name):
    port = site.authority.rpartition(":")[2]
    assert (await site.ask("GET", STATUS, Host=f"{name}:{port}")).status == 200


async def test_75_a_proxy_may_have_a_name_of_its_own(site):
    host = "collectord.example.com"
    assert (await site.ask("GET", STATUS, Host=host)).status == 403
    await site.listeners.follow(management(hosts=(host,)))
    assert (await site.ask("GET", STATUS, Host=host)).status == 200
    assert (await site.ask("GET", STATUS, Host=host, Origin=f"https://{host}")).status == 200


# ------------------------------------------------------------------------------------ 76: what a browser may do


async def test_76_every_answer_forbids_framing_sniffing_and_foreign_scripts(site):
    for path, key in [("/", "a-key-of-the-test"), (STATUS, "a-key-of-the-test"), (STATUS, None), ("/healthz", None)]:
        headers = (await site.ask("GET", path, key=key)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Python" not in headers["Server"]


async def test_76_a_name_with_markup_stays_json(site):
    await site.start("<img src=x onerror=alert(1)>")
    reply = await site.ask("GET", STATUS)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json["sources"][0]["name"] == "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/static/"]
)
async def test_76_no_path_leads_out_of_the_page(site, path):
    connection = await anyio.connect_tcp("127.0.0.1", int(site.authority.rpartition(":")[2]))
    async with connection:
        head = (
            f"GET {path} HTTP/1.1\r\nHost: {site.authority}\r\nAuthorization: {basic('admin', 'a-key-of-the-test')}\r\n"
        )
        await connection.send(f"{head}Connection: close\r\n\r\n".encode())
        assert (await connection.receive()).startswith(b"HTTP/1.1 404")


# ------------------------------------------------------------------------------------------ 77: greedy callers


async def test_77_a_request_that_never_ends_is_cut_off(site, monkeypatch):
    monkeypatch.setattr(bounds, "REQUEST_SECONDS", 0.2)
    head = f"POST {STATUS} HTTP/1.1\r\nHost: {site.authority}\r\n"
    body = f"{head}Authorization: {basic('admin', 'a-key-of-the-test')}\r\nContent-Length: 9\r\n\r\n{{"
    for beginning in ("", "G", head, body):
        async with await anyio.connect_tcp("127.0.0.1", int(site.authority.rpartition(":")[2])) as slow:
            if beginning:
                await slow.send(beginning.encode())
            with anyio.fail_after(5):
                assert beginning == body or await ended(slow)
            if beginning == body:
                assert b" 408 " in await slow.receive()


async def ended(connection: anyio.abc.ByteStream) -> bool:
    try:
        await connection.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return True
    return False


async def test_77_a_body_of_ten_megabytes_is_not_taken(site):
    reply = await site.ask("POST", STATUS, io.BytesIO(b" " * 10 * 2**20), Content_Type="application/json")
    assert (reply.status, reply.json["code"]) == (413, "request.toolarge")


async def test_77_long_or_many_headers_are_refused(site):
    assert (await site.ask("GET", STATUS, X_Long="x" * 9000)).status == 400
    many = {f"X_{number}": "x" for number in range(100)}
    assert (await site.ask("GET", STATUS, **many)).status == 400


async def test_77_a_thousand_connections_leave_collecting_alone(site):
    await site.start("okta-prod")
    await eventually(lambda: "okta-prod" in site.streams and site.streams["okta-prod"].cursors)
    address = ("127.0.0.1", int(site.authority.rpartition(":")[2]))
    held = []
    try:
        for _ in range(1000):
            held.append(socket.create_connection(address))
            if len(held) % 50 == 0:
                await anyio.sleep(0)
        site.streams["okta-prod"].issue(5)
        await site.poll_until("okta-prod", lambda: len(site.sink.lines) == 5)
        assert await site.ask_socket(STATUS) == 200
    finally:
        for connection in held:
            connection.close()
    await anyio.sleep(0.1)
    assert (await site.ask("GET", STATUS)).status == 200
