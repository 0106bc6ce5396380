"""Whole documents, as they were read and found right: a change of a table shows here as what it does to a document.

`python -m tests.ecs.test_golden` writes them anew; read the difference before you commit it.
"""

import json
from dataclasses import replace

import pytest

from collectord.records import Metadata
from tests.ecs.documents import HERE, STREAMS, mapped, record_of

METADATA = Metadata(
    collector="soc-1",
    source="prod",
    category="sec/saas",
    stream="",
    receipt_ms=1_788_249_600_000,
    fields={"env": "prod", "team.name": "iam"},
)


def document_of(dataset):
    return mapped(dataset, record_of(dataset), metadata=replace(METADATA, stream=STREAMS[dataset][1]))


@pytest.mark.parametrize("dataset", sorted(STREAMS))
def test_a_document_is_what_it_was_found_to_be(dataset):
    golden = json.loads((HERE / "golden" / f"{dataset}.json").read_text(encoding="utf-8"))
    assert document_of(dataset) == golden


if __name__ == "__main__":
    for name in STREAMS:
        text = json.dumps(document_of(name), indent=1, ensure_ascii=False, sort_keys=True)
        (HERE / "golden" / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
