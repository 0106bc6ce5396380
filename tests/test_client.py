"""One request to a vendor over a real connection: what an answer, a broken one and a hostile one come to."""

import anyio
import pytest
from aiohttp import web
from isal import igzip
from pydantic import SecretStr

from collectord.auth import FixedHeader
from collectord.client import MAX_BODY_BYTES, Client, CutShort, PageTooLarge, WrongHost, open_session, retry_after
from collectord.demo.loopback import AlreadySent, Loopback, cut
from collectord.errors import RateLimited, SourceRefused, SourceUnavailable
from collectord.limits import Budgets, Limits

TOKEN = "client-canary-token"
PROOF = FixedHeader("Authorization", SecretStr(TOKEN), "Bearer")
LIMITS = Limits("test", lambda status, headers, now: retry_after(headers) or 0.0 if status == 429 else 0.0)


class Far:
    """A server that answers as the test says, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, request):
        self.asked.append((request.method, request.path_qs, request.headers.get("Authorization")))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request) if callable(answer) else answer


async def ask(far, target="/page?x=%2F"):
    """GET pages of this server, as many as it has answers; returns the last."""
    async with Loopback(far).serve() as url, open_session() as session:
        client = Client(session, Budgets(), url, authorization=PROOF, limits=LIMITS)
        with anyio.fail_after(30):
            for _ in far.answers[1:]:
                await client.get(target, bucket="b")
            return await client.get(target, bucket="b")


def raw(*pieces, reset=None):
    """Write these bytes, and then end the connection or leave it."""

    async def answer(request):
        for piece in pieces:
            request.transport.write(piece)
            await anyio.sleep(0.01)
        if reset is not None:
            cut(request, reset=reset)
        return AlreadySent()

    return answer


async def test_a_target_goes_out_percent_encoded_as_it_is():
    far = Far(web.Response(body=b"[]"))
    response = await ask(far)
    assert (response.status, response.body) == (200, b"[]")
    assert far.asked == [("GET", "/page?x=%2F", f"Bearer {TOKEN}")]


@pytest.mark.parametrize("location", ["https://elsewhere.example/", "/login", "//elsewhere.example/x"])
async def test_a_redirect_is_an_answer_and_not_followed(location):
    far = Far(web.Response(status=302, headers={"Location": location}))
    response = await ask(far)
    assert response.status == 302
    assert len(far.asked) == 1


async def test_a_get_is_asked_once_when_a_kept_connection_dies():
    """Aiohttp would repeat it by itself; where a request moves the vendor's cursor that loses a page."""

    async def die(request):
        cut(request, reset=False)
        return AlreadySent()

    far = Far(web.Response(body=b"[]"), die)
    with pytest.raises(CutShort):
        await ask(far)
    assert len(far.asked) == 2


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nff\r\n"],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_an_answer_that_ends_early_is_no_answer(head, reset):
    with pytest.raises(CutShort) as caught:
        await ask(Far(raw(b"HTTP/1.1 200 OK\r\n" + head + b'[{"id":1},', reset=reset)))
    assert TOKEN not in repr(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nslow", reset=False),
        web.Response(status=429, headers={"Retry-After": "7", "Content-Encoding": "gzip"}, body=b"no gzip"),
        web.Response(status=429, headers={"Retry-After": "7", "Content-Encoding": "br"}, body=b"?"),
    ],
    ids=["cut", "broken gzip", "brotli"],
)
async def test_a_429_whose_body_cannot_be_read_says_how_long_to_wait_all_the_same(answer):
    with pytest.raises(RateLimited) as caught:
        await ask(Far(answer))
    assert caught.value.retry_after == 7


def packed(*parts):
    return web.Response(headers={"Content-Encoding": "gzip"}, body=b"".join(igzip.compress(part) for part in parts))


async def test_a_page_may_come_in_several_gzip_members():
    assert (await ask(Far(packed(b"[1,", b"2]")))).body == b"[1,2]"


async def test_a_page_of_very_many_gzip_members_is_refused_in_time():
    with pytest.raises(CutShort, match="more than 1024 pieces"):
        await ask(Far(packed(b"[", *[b" "] * 200_000, b"]")))


@pytest.mark.parametrize("encoding", ["gzip", None])
async def test_a_page_beyond_the_limit_is_refused_and_not_held(encoding):
    large = b" " * (MAX_BODY_BYTES + 1)
    with pytest.raises(PageTooLarge, match="lower page_size"):
        await ask(Far(packed(large) if encoding else web.Response(body=large)))


@pytest.mark.parametrize("body", [b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00"])
async def test_gzip_that_is_cut_short_is_no_page(body):
    answer = web.Response(headers={"Content-Encoding": "gzip"}, body=igzip.compress(b"[1]")[:-4] + body)
    with pytest.raises(CutShort):
        await ask(Far(answer))


async def test_an_error_that_repeats_our_credential_does_not_pass_it_on():
    said = web.Response(status=400, headers={"X-Said": TOKEN}, body=f"bad token {TOKEN}".encode())
    response = await ask(Far(said))
    assert TOKEN not in f"{response!r} {response.excerpt} {response.headers}"
    assert response.excerpt.startswith("bad token ")


async def test_of_a_success_not_a_byte_is_changed():
    assert (await ask(Far(web.Response(body=TOKEN.encode())))).body == TOKEN.encode()


async def test_a_request_that_a_library_leads_elsewhere_is_stopped():
    """Whatever leads it there: the fence stands at the connection's door."""
    far = Far(web.Response(body=b"[]"))
    async with Loopback(far).serve() as url, open_session() as session:
        client = Client(session, Budgets(), "http://127.0.0.2:1", authorization=PROOF, limits=LIMITS)
        with pytest.raises(SourceRefused, match="refused to send a credential"):
            await session.get(url, middlewares=client._middlewares)
    assert far.asked == []


@pytest.mark.parametrize(
    ("link", "result"),
    [
        ("/logs?after=%2F1", ("/logs?after=%2F1", True)),
        ("{origin}/logs?after=1", ("/logs?after=1", True)),
        ("https://elsewhere.example/logs?after=1", ("/logs?after=1", False)),
        ("http://user:pw@elsewhere.example/logs", ("/logs", False)),
    ],
)
async def test_of_a_link_only_path_and_query_are_taken(link, result):
    async with open_session() as session:
        client = Client(session, Budgets(), "https://a.example", authorization=PROOF, limits=LIMITS)
        assert client.target_of(link.format(origin="https://a.example"), "/logs") == result


@pytest.mark.parametrize("link", ["/other", "", "/logs\r\nX: y", "/lo gs", "https://[", "/logs/../x"])
async def test_a_link_that_leads_elsewhere_or_nowhere_is_refused(link):
    async with open_session() as session:
        client = Client(session, Budgets(), "https://a.example", authorization=PROOF, limits=LIMITS)
        with pytest.raises(SourceUnavailable, match="not followed"):
            client.target_of(link, "/logs")


async def test_a_name_that_nobody_has_is_a_mistake_and_a_closed_port_is_not():
    async with open_session() as session:
        for origin, error in (("https://nobody.invalid", WrongHost), ("http://127.0.0.1:1", SourceUnavailable)):
            client = Client(session, Budgets(), origin, authorization=PROOF, limits=LIMITS)
            with pytest.raises(SourceUnavailable) as caught:
                await client.get("/", bucket="b")
            assert type(caught.value) is error


@pytest.mark.parametrize("proxy", ["http://nobody.invalid:3128", "http://127.0.0.1:1"])
async def test_a_proxy_that_cannot_be_reached_is_named_and_the_vendors_host_is_not_doubted(proxy):
    async with open_session() as session:
        client = Client(session, Budgets(), "https://a.example", authorization=PROOF, limits=LIMITS, proxy=proxy)
        with pytest.raises(SourceUnavailable, match=r"the proxy before a\.example cannot be reached") as caught:
            await client.get("/", bucket="b")
        assert not isinstance(caught.value, WrongHost)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "9" * 400}, float("inf")),
        ({"Retry-After": "9" * 5000}, None),
        ({"Retry-After": "Thu, 01 Jan 2026 00:01:00 GMT", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 60.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_a_number_or_a_date_by_the_servers_own_clock(headers, seconds):
    assert retry_after(headers) == seconds
