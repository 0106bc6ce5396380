"""`kill -9` while documents are on their way to Elasticsearch: in the end there is each exactly once."""

import orjson
import pytest
from isal.isal_zlib import crc32

from collectord.demo.faults import Slow
from tests.daemon.harness import QUICK, Site
from tests.daemon.process import eventually
from tests.sinks.elasticsearch import Elasticsearch

KILLS = 8
EACH = 700


@pytest.mark.parametrize("form", ["ecs", "original"])
def test_killed_during_bulk_the_store_holds_as_many_documents_as_were_issued(site: Site, form):
    okta = site.okta()
    far = Elasticsearch(site.secret("elastic"))
    site.serve(far)
    options = {"api_key": "id:${credential:elastic}", "format": form, "retry": QUICK, "preserve_original_event": True}
    site.configure(sinks={"default": far.settings(**options)})
    site.source("okta-prod", okta)
    seen: set[bytes] = set()

    def busy_at_first(document):
        """Every third document is put off once, so that a kill also finds batches that were taken in part."""
        if crc32(document) % 3 or document in seen:
            return None
        seen.add(document)
        return 429, "es_rejected_execution_exception", "busy"

    far.verdict = busy_at_first
    issued: list[str] = []
    daemon = site.start()
    for number in range(KILLS):
        passed = number % 2
        expected = len(far.posts) + passed + 1
        far.fail(Slow(before=60, vendor_acts=number % 4 < 2), path="/_bulk", after=passed)  # stored, or not
        issued += site.call(okta.issue, EACH)
        eventually(lambda expected=expected: len(far.posts) >= expected)  # type: ignore[misc]
        daemon.kill()
        far.faults.clear()
        daemon = site.start()
    eventually(lambda: len(far.documents) >= len(issued), what=lambda: (len(far.documents), len(issued)))
    eventually(lambda: daemon.sink()["backlog_bytes"] == 0)
    assert len(far.documents) == len(issued) == KILLS * EACH
    events = [
        document["message"] if form == "original" else document["event"]["original"]
        for document in far.documents.values()
    ]
    assert {orjson.loads(event)["uuid"] for event in events} == set(issued)
    assert daemon.sink()["dead_letters"] == 0
    assert daemon.sink()["type"] == "elasticsearch"
    assert daemon.stop() == 0
