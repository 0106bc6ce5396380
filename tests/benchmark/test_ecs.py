"""The benchmark of ECS documents itself works; these numbers are too small to say anything."""

import re

from tests.benchmark.ecs import main


def test_each_event_stream_has_its_ratios(capsys):
    assert main(["--records", "20", "--rounds", "2"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [re.split(r"\s{2,}", row)[0] for row in rows] == [
        "Okta events",
        "SailPoint events",
        "SentinelOne Mgmt API activities",
        "Netskope application",
    ]
    for row in rows:
        envelope, ecs, ratio = (float(figure) for figure in row.split()[-3:])
        assert 0 < envelope < ecs
        assert ratio > 1
