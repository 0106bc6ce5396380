"""Foreign pages in a real browser that is signed in to collectord: they read nothing, and change nothing.

What raw requests say of the same rows of reliability.md 5.6 stands in test_guard.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from aiohttp import web

from tests.management.browser import EXECUTABLE, Tab, browser, tab
from tests.management.conftest import KEY, Site, eventually

if EXECUTABLE is None and os.environ.get("CI") == "true":
    pytest.fail("chromium is not installed, and CI may skip nothing: apt install chromium", pytrace=False)
pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="chromium is not installed: apt install chromium")

RULES = "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebound.test 127.0.0.1"
"""Names that a stranger's DNS lets lead to this machine."""
PAUSE = "/api/v1/collectors/1/sources/okta-prod/action/pause"
STATUS = "/api/v1/status"
PAGE = "<!doctype html><title>stranger</title><link rel=icon href=data:,><body>"

READS = {
    "cors": "fetch(us + status, {credentials}).then((answer) => answer.text())",
    "no-cors": (
        "fetch(us + status, {mode: 'no-cors', credentials})"
        ".then(async (answer) => { if (answer.type === 'opaque') throw Error('hidden'); return answer.text() })"
    ),
    "with a header of its own": (
        "fetch(us + status, {headers: {Authorization: 'Basic eA=='}, credentials}).then((answer) => answer.text())"
    ),
}
LOADS = {
    "script": "us + status",
    "img": "us + '/static/icon.svg'",
}
WRITES = {
    "text/plain": "fetch(us + pause, {method: 'POST', mode: 'no-cors', body: '{}', credentials})",
    "empty": "fetch(us + pause, {method: 'POST', mode: 'no-cors', credentials})",
    "json": (
        "fetch(us + pause, {method: 'POST', body: '{}', credentials, headers: {'Content-Type': 'application/json'}})"
    ),
    "beacon": "new Promise((done) => { navigator.sendBeacon(us + pause, 'x'); setTimeout(done, 300) })",
}
FORM = (
    "(() => { const form = document.createElement('form'); form.method = 'post'; form.action = us + pause;"
    " form.enctype = kind; document.body.append(form); form.submit() })()"
)


class Stranger:
    """A page of another origin, in a browser whose user is signed in to collectord."""

    def __init__(self, page: Tab, site: Site, port: int) -> None:
        self.page = page
        self._site = site
        self._port = port

    async def visit(self, host: str) -> None:
        """Open the page under this name; what was answered before is forgotten."""
        await self.page.call("Page.navigate", url=f"http://{host}:{self._port}/")
        await self.page.until("document.title === 'stranger'")
        self.page.answered.clear()

    async def run(self, script: str, **words: str) -> str:
        """What a script gets, or why it gets nothing."""
        known = json.dumps({"us": f"http://{self._site.authority}", "pause": PAUSE, "status": STATUS, **words})
        names = "us, pause, status, credentials, kind, path, frame"
        guarded = f"try {{ return String(await ({script})) }} catch (error) {{ return `no: ${{error}}` }}"
        got = f"(async ({{{names}}}) => {{ {guarded} }})({known})"
        return str(await self.page.see(got))

    async def statuses(self) -> set[int]:
        """Of what collectord answered to this page: at least one."""
        await eventually(self._answers)
        return self._answers()

    def _answers(self) -> set[int]:
        return {status for url, status in self.page.answered if self._site.authority in url}


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser(tmp_path_factory.mktemp("chromium"), RULES) as url:
        yield url


@pytest.fixture
async def stranger(site: Site, devtools: str) -> AsyncIterator[Stranger]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    await site.start("okta-prod")
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    try:
        async with tab(devtools) as page:
            await page.call("Page.navigate", url=f"http://admin:{KEY}@{site.authority}/")
            await page.until("document.querySelectorAll('#sources tr').length === 1")
            yield Stranger(page, site, runner.addresses[0][1])
            assert site.plant.supervisor.running["okta-prod"].status.state != "Paused"
            await page.call("Page.navigate", url=f"http://{site.authority}/")  # and it was signed in all the time
            await page.until("document.querySelectorAll('#sources tr').length === 1")
    finally:
        await runner.cleanup()


hosts = pytest.mark.parametrize(
    "host", ["evil.test", "localhost", "127.0.0.1"]
)  # another site; the same on another port


@hosts
async def test_74_a_foreign_page_reads_nothing(stranger, host):
    await stranger.visit(host)
    for name, script in READS.items():
        for credentials in ("include", "omit"):
            assert (await stranger.run(script, credentials=credentials)).startswith("no: "), name
    assert await stranger.statuses() == {403}


@hosts
async def test_74_a_foreign_page_loads_nothing_as_a_script_or_an_image(stranger, host):
    await stranger.visit(host)
    for tag, source in LOADS.items():
        script = (
            f"new Promise((done, fail) => {{ const node = document.createElement('{tag}'); node.onload = done;"
            f" node.onerror = () => fail('refused'); node.src = {source}; document.body.append(node) }})"
        )
        assert await stranger.run(script) == "no: refused", tag
    assert await stranger.statuses() == {403}


@hosts
async def test_74_a_foreign_page_changes_nothing(stranger, host):
    await stranger.visit(host)
    for script in WRITES.values():
        for credentials in ("include", "omit"):
            await stranger.run(script, credentials=credentials)
    assert await stranger.statuses() == {403}


@hosts
async def test_74_a_form_of_a_foreign_page_changes_nothing(stranger, host):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        await stranger.visit(host)
        await stranger.run(FORM, kind=kind)
        assert await stranger.statuses() == {403}, kind


async def test_74_a_page_without_an_origin_of_its_own_gets_nothing(stranger, site):
    await stranger.visit("evil.test")
    asking = (
        "new Promise((done) => { addEventListener('message', (event) => done(event.data), {once: true});"
        " const node = document.createElement('iframe'); node.sandbox = 'allow-scripts'; node.srcdoc = frame;"
        " document.body.append(node) })"
    )
    for script in (READS["cors"], WRITES["json"]):
        known = (
            f"const us = 'http://{site.authority}', status = '{STATUS}', pause = '{PAUSE}', credentials = 'include';"
        )
        told = "(got) => parent.postMessage('got', '*'), () => parent.postMessage('nothing', '*')"
        assert await stranger.run(asking, frame=f"<script>{known} {script}.then({told})</script>") == "nothing"


async def test_74_a_foreign_page_opens_no_websocket(stranger):
    await stranger.visit("evil.test")
    script = (
        "new Promise((done, fail) => { const socket = new WebSocket(us.replace('http', 'ws') + status);"
        " socket.onopen = done; socket.onerror = () => fail('refused') })"
    )
    assert await stranger.run(script) == "no: refused"
    await eventually(lambda: any("403" in complaint for complaint in stranger.page.complaints))


@pytest.mark.parametrize("userinfo", ["", f"admin:{KEY}@"])
async def test_75_under_a_rebound_name_there_is_nothing(stranger, site, userinfo):
    """The stranger's name leads to us after a while: then the stranger's page is of the same origin as we are."""
    page, port = stranger.page, site.authority.rpartition(":")[2]
    page.answered.clear()
    await page.call("Page.navigate", url=f"http://{userinfo}rebound.test:{port}/")
    assert "not a name of collectord" in await page.until("document.body?.innerText")
    for path, method in ((STATUS, "GET"), (PAUSE, "POST"), ("/healthz", "GET"), ("/metrics", "GET")):
        asking = f"fetch(location.origin + '{path}', {{method: '{method}'}}).then((answer) => answer.status)"
        assert await page.see(asking) == 403


@hosts
async def test_76_a_foreign_page_frames_nothing(stranger, host):
    script = (
        "new Promise((done) => { const node = document.createElement('iframe'); node.onload = () => done("
        "(() => { try { return node.contentDocument.body.innerText } catch (error) { return 'no' } })());"
        " node.src = us + path; document.body.append(node) })"
    )
    for path in ("/", STATUS):
        await stranger.visit(host)
        stranger.page.complaints.clear()
        assert await stranger.run(script, path=path) in {"no", "null"}
        await eventually(lambda: any("frame" in complaint.lower() for complaint in stranger.page.complaints))


async def test_76_a_page_that_opened_ours_has_no_hold_on_it(stranger, site):
    await stranger.visit("evil.test")
    opened = f"window.other = window.open('http://{site.authority}/')"
    await stranger.page.call("Runtime.evaluate", expression=opened, userGesture=True)
    await stranger.page.until("!other || other.closed")  # Cross-Origin-Opener-Policy: to the opener it looks closed
    with anyio.fail_after(5):
        assert (await stranger.run("other.document.body.innerText")).startswith("no: ")
