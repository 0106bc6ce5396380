"""The description of the API says what the API does: its routes, and what schemathesis finds in a bounded run."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.errors import SourceRefused
from collectord.health import Resource
from collectord.management import tools
from collectord.management.bounds import Bounds
from collectord.management.server import application
from tests.management.conftest import KEY
from tests.management.test_collectors import TOKEN, create, made

NAMES = """
[parameters]
"path.collector" = "1"
"path.source" = "of-a-file"

[[operations]]
include-name = "PUT /api/v1/collectors/{collector}/sources/{source}"
parameters = { "path.source" = "okta-api", "header.If-Match" = "*" }

[[operations]]
include-name = "DELETE /api/v1/collectors/{collector}/sources/{source}"
parameters = { "path.source" = "okta-gone" }
"""
"""Makes it meet sources that there are, in most requests."""
PAGES = {("GET", "/"), ("GET", "/static/{path}")}


async def test_every_route_is_described_and_every_description_has_a_route(site):
    app = application(site.plant, Bounds(), None)
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if isinstance(route, web.ResourceRoute) and route.resource is not None and route.method != "HEAD"
    }
    described = (await site.get("/api/v1/openapi.json"))["paths"]
    # What `collectord checkpoint`, `backfill` and `dead-letters` say to the daemon is between the two of them.
    tools_own = {(route.method, route.path) for route in tools.routes(site.plant)}
    assert tools_own <= routes
    promised = routes - PAGES - tools_own
    assert {(method.upper(), path) for path, methods in described.items() for method in methods} == promised


@pytest.mark.timeout(180)
async def test_schemathesis_finds_no_difference(site, tmp_path):
    await site.start("of-a-file")
    await site.plant.health.open(Resource("Source", 1, "of-a-file"), SourceRefused("refused", code=401))
    okta = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    async with okta.serve():
        await create(site, made(okta))
        await create(site, made(okta, "okta-gone"))
        (tmp_path / "schemathesis.toml").write_text(NAMES)
        with anyio.fail_after(150):
            process = await anyio.run_process(
                [
                    *(Path(sys.executable).with_name("schemathesis"), "run"),
                    f"http://{site.authority}/api/v1/openapi.json",
                    *("--auth", f"admin:{KEY}", "--max-examples", "15", "--seed", "4", "--workers", "1"),
                    *("--phases", "examples,coverage,fuzzing", "--no-color"),
                    *("--exclude-checks", "negative_data_rejection,positive_data_acceptance"),
                ],
                cwd=tmp_path,
                check=False,
            )
    said = process.stdout.decode() + process.stderr.decode()
    assert process.returncode == 0, said
    assert "Tested: 16" in said
    assert "okta-gone" not in site.plant.supervisor.running
