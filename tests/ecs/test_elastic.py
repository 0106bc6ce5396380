"""Elastic's own integrations as the measure: what their documents carry, ours carry under the same names."""

import pytest

from tests.ecs.documents import HERE, leaves, mapped, record_of

GOAL = 0.98
DATASETS = sorted(path.stem for path in (HERE / "elastic").glob("*.txt"))
NEEDS_GEOIP = {
    f"{place}.geo.{name}"
    for place in ("host", "source")
    for name in (
        *("city_name", "continent_name", "country_iso_code", "country_name"),
        *("location.lat", "location.lon", "region_iso_code", "region_name"),
    )
}
"""Elasticsearch looks these up by address in a database of its own: config/elasticsearch-geoip.json tells it to."""


def fields_of_elastic(dataset: str) -> list[str]:
    return (HERE / "elastic" / f"{dataset}.txt").read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_field_of_elastic_comes_out_under_its_name(dataset):
    wanted = fields_of_elastic(dataset)
    document = mapped(dataset, record_of(dataset), original=True)
    there = {name for name, _ in leaves(document)}
    missing = [name for name in wanted if name not in there]
    looked_up = [name for name in missing if name in NEEDS_GEOIP]
    others = [name for name in missing if name not in NEEDS_GEOIP]
    share = 1 - len(others) / (len(wanted) - len(looked_up))
    print(f"{dataset}: {len(wanted) - len(missing)} of {len(wanted)} fields")
    print(
        f"  {share:.1%} of those that a record holds; {len(looked_up)} more need GeoIP: {', '.join(looked_up) or '-'}"
    )
    print(f"  not mapped: {', '.join(others) or '-'}")
    assert share >= GOAL


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_record_with_everything_maps_without_complaint(dataset):
    assert "error" not in mapped(dataset, record_of(dataset))
