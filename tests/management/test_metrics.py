"""`/metrics` by Prometheus' conventions, true to what happened, and the dashboard that uses it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from collectord.demo.okta import OktaSimulator
from collectord.demo.okta_knobs import OktaKnobs
from collectord.errors import SinkUnavailable
from tests.management.conftest import eventually
from tests.management.test_collectors import TOKEN, create, made

PROMTOOL = shutil.which("promtool")
DASHBOARD = Path(__file__).parent.parent.parent / "config" / "grafana-dashboard.json"


async def scrape(site) -> dict[str, Metric]:
    reply = await site.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {metric.name: metric for metric in text_string_to_metric_families(reply.body.decode())}


async def value(site, name: str, **labels: str) -> float:
    found = [
        sample.value
        for metric in (await scrape(site)).values()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


async def test_what_a_stream_did_is_counted(site):
    await site.start("a")
    await eventually(lambda: "a" in site.streams)
    site.streams["a"].issue(7)
    await site.poll_until("a", lambda: len(site.sink.lines) == 7)
    await eventually(lambda: site.plant.outbox.by_sink["default"].records == 0)
    labels = {"source": "a", "stream": "events"}
    assert await value(site, "collectord_records_received_total", **labels) == 7
    assert await value(site, "collectord_records_delivered_total", **labels) == 7
    assert await value(site, "collectord_records_dropped_total", **labels) == 0
    assert await value(site, "collectord_records_duplicate_total", **labels) == 0
    assert await value(site, "collectord_poll_interval_seconds", **labels) == 300
    assert 0 <= await value(site, "collectord_lag_seconds", **labels) < 60
    assert await value(site, "collectord_backlog_records", **labels) == 0
    assert await value(site, "collectord_sink_batches_total", sink="default") == len(site.sink.stored)
    size = sum(len(batch.body) for batch in site.sink.stored)
    assert await value(site, "collectord_sink_bytes_total", sink="default") == size
    assert await value(site, "collectord_store_commits_total") > 0
    assert await value(site, "collectord_source_state", source="a", state="Collecting") == 1
    assert await value(site, "collectord_source_state", source="a", state="Error") == 0


async def test_what_waits_and_which_sink_is_in_trouble(site):
    site.sink.script.extend([SinkUnavailable("away")] * 100)
    await site.start("a")
    await eventually(lambda: "a" in site.streams)
    site.streams["a"].issue(4)
    await site.poll_until("a", lambda: site.plant.outbox.by_sink["default"].records == 4)
    await eventually(lambda: site.plant.deliveries["default"].status.error)
    assert await value(site, "collectord_backlog_records", source="a", stream="events") == 4
    assert await value(site, "collectord_backlog_bytes", source="a", stream="events") > 0
    assert await value(site, "collectord_sink_backlog_records", sink="default") == 4
    assert await value(site, "collectord_sink_healthy", sink="default") == 0
    assert await value(site, "collectord_sink_buffer_bytes", sink="default") == 2**30
    assert await value(site, "collectord_health_events_open", severity="Error") == 1
    site.sink.script.clear()


async def test_requests_to_a_vendor_are_counted_by_class(site):
    okta = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    okta.issue(3)
    async with okta.serve():
        await create(site, made(okta))
        await eventually(lambda: len(site.sink.lines) == 3)
        assert await value(site, "collectord_vendor_requests_total", source="okta-api", status="2xx") >= 1
        assert await value(site, "collectord_vendor_received_bytes_total", source="okta-api") > 100
        assert await value(site, "collectord_vendor_rate_limit_wait_seconds_total", source="okta-api") >= 0
    requests = site.plant.supervisor.running["okta-api"].clients[0].traffic.answers
    await site.poll_until("okta-api", lambda: requests["none"] >= 1)
    assert await value(site, "collectord_vendor_requests_total", source="okta-api", status="none") >= 1


async def test_names_follow_the_conventions(site):
    await site.start("a")
    await eventually(lambda: site.streams.get("a"))
    families = await scrape(site)
    for name, metric in families.items():
        assert re.fullmatch(r"(collectord|process)_[a-z_]+", name)
        assert metric.documentation
        if metric.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in metric.samples)
        assert not re.search(r"_(ms|milliseconds|minutes|kib|mib|percent|ratio_percent)(_|$)", name)


async def test_labels_are_bounded_by_the_configuration(site):
    await site.start("a", "b")
    await eventually(lambda: len(site.streams) == 2)
    known = {"source", "stream", "sink", "state", "type", "status", "severity", "version"}
    for metric in (await scrape(site)).values():
        for sample in metric.samples:
            assert sample.labels.keys() <= known
            assert sample.labels.get("source") in {None, "a", "b"}


async def test_any_name_of_a_source_stands_in_a_label(site):
    name = 'quote " back \\ slash ünï'
    await site.start(name)
    assert await value(site, "collectord_source_state", source=name, state="Error") == 0


async def test_the_dashboard_asks_for_metrics_and_labels_that_exist(site):
    await site.start("a")
    await eventually(
        lambda: "a" in site.streams and site.plant.supervisor.running["a"].status.streams[0].last_success_ms
    )
    samples = [sample for metric in (await scrape(site)).values() for sample in metric.samples]
    labels = {sample.name: {*sample.labels, "instance"} for sample in samples}
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [each["query"]["query"] for each in dashboard["templating"]["list"] if isinstance(each["query"], dict)]
    used = {}
    for expression in asked:
        names = re.findall(r"((?:collectord|process)_\w+)(?:\{([^}]*)\})?", expression)
        assert names, expression
        for name, matchers in names:
            used[name] = True
            assert name in labels, expression
            assert set(re.findall(r"(\w+)\s*=", matchers)) <= labels[name], expression
    ours = {name for name in labels if name.startswith("collectord_") and not name.endswith("_created")}
    left_out = {"collectord_backlog_bytes", "collectord_next_poll_timestamp_seconds", "collectord_sink_backlog_records"}
    assert ours - used.keys() == {*left_out, "collectord_vendor_received_bytes_total"}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt install prometheus")
async def test_promtool_finds_fault_with_no_metric_and_no_expression(site, tmp_path):
    await site.start("a")
    await eventually(lambda: "a" in site.streams)
    body = (await site.ask("GET", "/metrics")).body
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    expressions = [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    checked = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


async def test_no_secret_is_in_the_metrics(site):
    okta = OktaSimulator(TOKEN, OktaKnobs(org_limits=None))
    async with okta.serve():
        await create(site, made(okta))
        assert TOKEN.encode() not in (await site.ask("GET", "/metrics")).body
