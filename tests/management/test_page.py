"""The Collection page in headless Chromium, on the real API: what it shows, what it does, what it never does."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from collectord.errors import SinkUnavailable, SourceRefused
from collectord.management.pages import FOLDER
from tests.management.browser import EXECUTABLE, Tab, browser, tab
from tests.management.conftest import KEY, Site, eventually

if EXECUTABLE is None and os.environ.get("CI") == "true":
    pytest.fail("chromium is not installed, and CI may skip nothing: apt install chromium", pytrace=False)
pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="chromium is not installed: apt install chromium")

EVIL = '<img src=x onerror="document.title=`broken`">'
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    return layers;
  };
  const seen = (node) => node.checkVisibility() && [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
  return [...document.querySelectorAll(ROOT + " *")].filter(seen).map((node) => {
    const layers = behind(node);
    const [a, b] = [paint([...layers, getComputedStyle(node).color]), paint(layers)].map(light);
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.className + " " + node.textContent.slice(0, 40)];
  });
})()
"""
"""Of each element with text of its own: its contrast as WCAG computes it, and what it is."""

TAKES = "(async () => { const began = performance.now(); WHAT; return performance.now() - began })()"
OFFLINE = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser(tmp_path_factory.mktemp("chromium")) as url:
        yield url


@pytest.fixture
async def page(site: Site, devtools: str) -> AsyncIterator[Tab]:
    """The page, open on two sources, of which one was refused; nothing may complain and nothing may be asked abroad."""
    await site.start("okta-prod", "okta-eu")
    for stream in site.streams.values():
        stream.issue(2)
    await eventually(lambda: all(len(stream.cursors) for stream in site.streams.values()))
    async with tab(devtools) as opened:
        await opened.resize(1360, 900)
        await opened.call("Page.navigate", url=f"http://admin:{KEY}@{site.authority}/")
        await opened.until("document.querySelectorAll('#sources tr').length === 2")
        yield opened
        assert not opened.complaints
        assert {urlsplit(url).netloc.rpartition("@")[2] for url in opened.requested if url != "about:blank"} == {
            site.authority
        }


def row(name: str) -> str:
    return f"[...document.querySelectorAll('#sources tr')].find((row) => row.textContent.includes({json.dumps(name)}))"


async def refuse(site: Site, name: str, why: str = "the token was revoked") -> None:
    """Let a source be refused by its vendor."""
    site.streams[name].script.append(SourceRefused(why, code=401, info="E0000011"))
    running = site.plant.supervisor.running[name]

    def is_refused() -> bool:
        site.plant.supervisor.poll(name)  # again and again: it may have been polling just now
        return running.status.state == "Error"

    await eventually(is_refused)


async def test_what_comes_is_shown_without_reloading(page, site):
    await page.see("document.marked = true")
    site.streams["okta-prod"].issue(4)
    site.plant.supervisor.poll("okta-prod")
    await eventually(lambda: site.plant.supervisor.running["okta-prod"].status.streams[0].records_received >= 4)
    received = site.plant.supervisor.running["okta-prod"].status.streams[0].records_received
    await page.until(f"{row('okta-prod')}.querySelector('.count').innerText === '{received}'")
    assert await page.see("!!document.querySelector('#total-plot path').getAttribute('d') && document.marked")


async def test_only_what_changed_is_touched(page, site):
    script = (
        "window.touched = []; new MutationObserver((all) => all.forEach((one) => touched.push(one.target.nodeName)))"
        f".observe({row('okta-eu')}.querySelector('.what'), {{subtree: true, childList: true, attributes: true}})"
    )
    await page.see(script)
    await refuse(site, "okta-prod")
    await page.until(f"{row('okta-prod')}.textContent.includes('Error')")
    assert await page.see("touched") == []


async def test_a_trouble_says_its_reason_and_is_announced(page, site):
    await refuse(site, "okta-eu")
    await page.until(
        f"{row('okta-eu')}.querySelector('.trouble').innerText.includes('the token was revoked: E0000011')"
    )
    assert "401" in await page.see(f"{row('okta-eu')}.querySelector('.state').dataset.tip")
    assert await page.see("document.querySelector('#said').innerText") == "In trouble: okta-eu"
    assert await page.see("document.title") == "(1) soc-1 · Collection"
    assert await page.see("document.querySelector('#sources tr .name').innerText") == "okta-eu"  # trouble comes first


async def test_a_sink_in_trouble_is_announced_as_well_and_its_end_too(page, site):
    site.sink.script.extend([SinkUnavailable("away")] * 1000)
    site.streams["okta-prod"].issue(1)
    await site.poll_until("okta-prod", lambda: site.plant.deliveries["default"].status.error)
    said = "document.querySelector('#said').innerText"
    await page.until(f"{said} === 'In trouble: sink default'")
    assert await page.see("document.title") == "(1) soc-1 · Collection"
    site.sink.script.clear()
    site.plant.retry_sinks()
    await page.until(f"{said} === 'All is well again' && document.title === 'soc-1 · Collection'")


async def test_a_click_on_the_health_opens_its_events_with_the_next_step(page, site):
    await refuse(site, "okta-eu")
    await page.until(f"{row('okta-eu')}.querySelector('.health').innerText === '1 error'")
    await page.click("#sources tr .health")
    said = await page.until("document.querySelector('.events li p')?.parentElement.innerText")
    assert "ThirdPartyConfigError" in said
    assert "goes on from its checkpoint" in said


@pytest.mark.parametrize(("action", "then"), [("pause", "Paused"), ("restart", "Collecting")])
async def test_an_action_is_done_when_it_is_confirmed_and_not_before(page, site, action, then):
    running = site.plant.supervisor.running["okta-prod"]
    await page.see(f"{row('okta-prod')}.querySelector('.name').click()")
    await page.click(f"[data-action={action}]")
    await page.click("#ask-no")
    await page.until("!document.querySelector('#ask').open")
    assert site.plant.supervisor.running["okta-prod"] is running
    assert running.status.state == "Collecting"
    assert not [url for url in page.requested if "/action/" in url]
    await page.click(f"[data-action={action}]")
    await page.click("#ask-yes")
    await page.until("!document.querySelector('#ask').open")
    await page.until(f"document.querySelector('#panel .state').innerText === '{then}'")
    assert len([url for url in page.requested if url.endswith(f"/action/{action}")]) == 1
    await eventually(lambda: site.plant.supervisor.running["okta-prod"].status.state == then)
    assert (site.plant.supervisor.running["okta-prod"] is running) == (action == "pause")


async def test_poll_and_resume_reach_the_source(page, site):
    asked = len(site.streams["okta-prod"].cursors)
    await page.see(f"{row('okta-prod')}.querySelector('.name').click()")
    await page.click("[data-action=poll]")
    await page.click("#ask-yes")
    await eventually(lambda: len(site.streams["okta-prod"].cursors) > asked)
    await site.plant.supervisor.pause("okta-prod")
    await page.click("[data-action=resume]")
    await page.click("#ask-yes")
    await eventually(lambda: site.plant.supervisor.running["okta-prod"].status.state == "Collecting")


async def test_a_source_that_has_stopped_is_not_offered_to_poll(page, site):
    await refuse(site, "okta-eu")
    await page.until(f"{row('okta-eu')}.textContent.includes('revoked')")
    await page.see(f"{row('okta-eu')}.querySelector('.name').click()")
    await page.until("document.querySelector('[data-action=poll]').disabled")
    assert not await page.see("document.querySelector('[data-action=restart]').disabled")


async def test_what_stands_behind_a_panel_does_not_move(page, site):
    await site.start(*(f"tenant-{number:02}" for number in range(30)))  # the page scrolls
    await page.until("document.querySelectorAll('#sources tr').length === 30")
    place = "document.querySelector('#theme').getBoundingClientRect().x"
    before = await page.see(place)
    await page.see(f"{row('tenant-00')}.querySelector('.name').click()")
    await page.until("document.querySelector('#panel').open")
    assert await page.see(place) == before
    await page.until("document.querySelector('#panel').getBoundingClientRect().right === innerWidth")


async def test_the_heads_of_the_table_stay_in_sight(page, site):
    await site.start(*(f"tenant-{number:02}" for number in range(40)))
    await page.until("document.querySelectorAll('#sources tr').length === 40")
    await page.see("scrollTo(0, document.body.scrollHeight)")
    await page.until("scrollY > 500")
    assert await page.see("document.querySelector('#heads').getBoundingClientRect().top") >= 0
    seen = (
        "document.elementFromPoint(innerWidth / 2, document.querySelector('#heads').getBoundingClientRect().top + 20)"
    )
    assert await page.see(f"document.querySelector('thead').contains({seen})")


@pytest.mark.parametrize("width", [800, 1100, 1360])
async def test_each_column_stands_below_its_head(page, width):
    await page.resize(width, 900)
    await page.until(f"innerWidth === {width}")
    ends = "[...document.querySelectorAll('ROW')].filter((cell) => cell.checkVisibility()).map(EDGE)"
    edge = "(cell) => Math.round(cell.getBoundingClientRect()[cell.matches('.right') ? 'right' : 'left'])"
    heads = await page.see(ends.replace("ROW", "#heads th:not(.sr-only)").replace("EDGE", edge))
    cells = await page.see(ends.replace("ROW", "#sources tr:first-child td:not(.trouble)").replace("EDGE", edge))
    assert len(heads) == len(cells) == (8 if width == 1360 else 6)
    assert all(abs(head - cell) <= 2 for head, cell in zip(heads, cells, strict=True)), (heads, cells)  # a border


async def test_where_nothing_matches_there_is_no_empty_table(page):
    await page.press("/")
    for letter in "zzz":
        await page.press(letter)
    assert "No source matches" in await page.until(
        "document.querySelector('#none').checkVisibility() && document.querySelector('#none').innerText"
    )
    assert not await page.see("document.querySelector('#sources').checkVisibility()")


def test_no_module_waits_for_another():
    """A module that is not preloaded is asked for only when the one that imports it has come."""
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    modules = {path.name for path in FOLDER.glob("*.js") if "import " in path.read_text(encoding="utf-8")}
    imported = {
        name for path in FOLDER.glob("*.js") for name in re.findall(r'from "\./(.*?)"', path.read_text("utf-8"))
    }
    assert set(re.findall(r'rel="modulepreload" href="/static/(.*?)"', page)) == (modules | imported) - {"page.js"}


async def test_a_refused_action_says_why(page, site):
    await page.see(f"{row('okta-eu')}.querySelector('.name').click()")
    await page.click("[data-action=restart]")
    await site.start("okta-prod")
    await page.click("#ask-yes")
    assert "no source" in await page.until("document.querySelector('#ask-error').innerText")
    page.complaints.clear()  # the browser notes the 404 itself


async def test_the_keyboard_is_enough(page, site):
    await page.press("/")
    assert await page.see("document.activeElement.id") == "search"
    for letter in "prod":
        await page.press(letter)
    await page.until("[...document.querySelectorAll('#sources tr')].filter((row) => !row.hidden).length === 1")
    for _ in range(12):
        await page.press("Tab")
        if await page.see("document.activeElement.className") == "name":
            break
    assert await page.see("document.activeElement.innerText") == "okta-prod"
    assert await page.see("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await page.press("Enter")
    await page.until("document.querySelector('#panel').open")
    assert await page.see("document.querySelector('#panel').contains(document.activeElement)")
    await page.press("Escape")
    await page.until("!document.querySelector('#panel').open")
    assert await page.see("document.activeElement.innerText") == "okta-prod"  # back where it was


async def test_a_screen_reader_finds_a_table_and_a_name_for_everything(page):
    nodes = (await page.call("Accessibility.getFullAXTree"))["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    names = {node["name"]["value"] for node in nodes if not node["ignored"]}
    assert {"Source", "Status"} <= names  # the arrow of the order is told by aria-sort, and is no part of a name
    assert (roles.count("table"), roles.count("row"), roles.count("columnheader")) == (1, 3, 9)
    for node in nodes:
        if not node["ignored"] and node["role"]["value"] in {"button", "searchbox", "image", "meter", "table"}:
            assert node["name"]["value"], node


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_text_has_readable_contrast(page, site, theme):
    await page.prefer(theme)
    await refuse(site, "okta-eu")
    await site.plant.supervisor.pause("okta-prod")
    await page.until(
        f"{row('okta-eu')}.textContent.includes('revoked') && {row('okta-prod')}.textContent.includes('Paused')"
    )
    background = await page.see("getComputedStyle(document.documentElement).backgroundColor")
    texts = await page.see(CONTRAST.replace("ROOT", '"body"'))
    await page.click("#sources tr .health")
    await page.until("document.querySelector('.events li p')?.innerText")
    texts += await page.see(CONTRAST.replace("ROOT", '"#panel"'))
    assert len(texts) > 60
    assert [text for text in texts if text[0] < 4.5] == []
    assert (background == "rgb(18, 18, 17)") == (theme == "dark")


async def test_the_chosen_theme_is_kept(page):
    await page.prefer("light")
    await page.click("#theme")
    await page.call("Page.reload")
    await page.until("document.querySelectorAll('#sources tr').length === 2")
    assert await page.see("getComputedStyle(document.documentElement).backgroundColor") == "rgb(18, 18, 17)"


@pytest.mark.parametrize("width", [320, 390, 800])
async def test_a_narrow_screen_needs_no_sideways_scroll(page, site, width):
    await refuse(site, "okta-eu")
    await site.start("okta-prod", "okta-eu", "x" * 128)
    await page.until("document.querySelectorAll('#sources tr').length === 3")
    await page.resize(width, 800)
    await page.until(f"innerWidth === {width}")
    assert await page.see("document.documentElement.scrollWidth") <= width
    ends = f"((row) => RIGHT(row.querySelector('.name')) <= RIGHT(row))({row('xxx')})"
    assert await page.see(ends.replace("RIGHT(", "((node) => node.getBoundingClientRect().right)("))  # not cut off
    await page.see(f"{row('xxx')}.querySelector('.name').click()")
    await page.until("document.querySelector('#panel').open")
    assert await page.see("document.querySelector('#panel').scrollWidth") <= width


async def test_a_name_that_is_markup_is_text(page, site):
    await site.start(EVIL)
    await eventually(lambda: EVIL in site.streams)
    await refuse(site, EVIL, EVIL)
    await page.until("document.querySelector('#sources .trouble')?.innerText.includes('<img')")
    await page.click("#sources tr .health")
    await page.until("document.querySelector('.events li p')?.innerText.includes('<img')")
    assert await page.see("document.querySelector('#panel-name').innerText") == EVIL
    assert await page.see("document.images.length") == 0
    assert "broken" not in await page.see("document.title")


async def test_the_policy_would_stop_a_script_that_got_in(page):
    await page.see("document.body.append(Object.assign(document.createElement('script'), {text: 'window.got = 1'}))")
    assert await page.see("window.got") is None
    assert any("Content Security Policy" in complaint for complaint in page.complaints)
    page.complaints.clear()


async def test_when_the_daemon_is_away_the_page_says_so_and_comes_back(page, site):
    await page.call("Network.emulateNetworkConditions", offline=True, **OFFLINE)
    assert "does not answer" in await page.until(
        "!document.querySelector('#away').hidden && document.querySelector('#away').innerText"
    )
    await page.call("Network.emulateNetworkConditions", offline=False, **OFFLINE)
    await page.until("document.querySelector('#away').hidden")
    page.complaints.clear()  # the browser notes each failed request


async def test_the_json_of_a_source_is_there_with_secrets_masked(page):
    await page.see(f"{row('okta-prod')}.querySelector('.name').click()")
    await page.until("document.querySelector('.events').hasChildNodes()")  # then nothing moves any more
    await page.click(".json summary")
    shown = json.loads(await page.until("document.querySelector('.json pre').innerText"))
    assert shown["source"]["config"]["name"] == "okta-prod"


async def test_a_thousand_sources_are_shown_in_a_second(page, site):
    await site.start(*(f"tenant-{number:04}" for number in range(1000)))
    await page.until("document.querySelectorAll('#sources tr').length === 1000", 20)
    took = await page.see(TAKES.replace("WHAT", "await (await fetch(location.origin + '/api/v1/status')).json()"))
    assert took < 1000
    began = time.process_time()
    for _ in range(10):
        assert len((await site.get("/api/v1/status"))["sources"]) == 1000
    # Two per cent of a core, when so many sources are asked about every five seconds; this process asks as well.
    assert (time.process_time() - began) / 10 < 0.02 * 5
    drawn = (
        "[...document.querySelectorAll('.name')].filter((name) => name.checkVisibility({contentVisibilityAuto: true}))"
    )
    assert 0 < await page.see(f"{drawn}.length") < 100
