import pytest

from collectord.ecs import DATASETS, allowed, mapper, tables
from collectord.ecs.operations import MERGED

NAMES = sorted(set(DATASETS.values()))


def targets_of(name):
    return [target.replace("[]", "") for row in tables.read(name).rows for target in row.targets]


@pytest.mark.parametrize("name", NAMES)
def test_no_field_is_an_object_in_one_row_and_a_value_in_another(name):
    targets = targets_of(name)
    poured = {row.targets[0] for row in tables.read(name).rows if row.operation in {*MERGED, "rest"}}
    values = {target for target in targets if target not in poured}
    clashes = [(one, other) for one in values for other in targets if other.startswith(f"{one}.")]
    assert not clashes


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_of_category_and_type_is_one_that_ecs_allows(name):
    table = tables.read(name)
    constants = {row.targets[0]: row.constant for row in table.rows if row.operation == "constant"}
    pairs = [(constants.get("event.category"), constants.get("event.type"))]
    for decision in table.decisions:
        for _, decided in decision.rows:
            chosen = dict(zip(decision.targets, decided, strict=True))
            pairs.append((chosen.get("event.category"), chosen.get("event.type")))
            assert chosen.get("event.outcome") in {None, *allowed.OUTCOMES}
            assert chosen.get("event.kind") in {None, *allowed.KINDS}
    assert [found for pair in pairs if (found := allowed.faults(pair[0] or (), pair[1] or ()))] == []


@pytest.mark.parametrize(
    ("categories", "types", "fault"),
    [
        (["login"], [], "login is no event.category"),
        (["iam"], ["users"], "users is no event.type"),
        (["authentication"], ["network"], "network is no event.type"),
        (["authentication"], ["start", "denied"], "event.type denied goes with none of authentication"),
        (["iam", "threat"], ["user"], "threat stands with none of its types"),
    ],
)
def test_what_ecs_does_not_allow_is_named(categories, types, fault):
    assert fault in allowed.faults(categories, types)


def test_a_table_with_a_pair_that_ecs_does_not_allow_is_refused():
    with pytest.raises(tables.BadTable, match=r"event\.type denied goes with none of iam"):
        tables.parse("x", "[choice]\na\t>\tevent.category\tevent.type\nb\tiam\tdenied\n*\tiam\tinfo")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[fields]\na\ttext", "not three columns"),
        ("[fields]\na\tpaint\tb", "no operation 'paint'"),
        ("[choices]\na", "no such section"),
        ("[choice]\na\t>\tb\nx\ty", "the last line must take everything"),
        ("[choice]\na\t>\tb\nx\ty\tz", "not 2 columns"),
    ],
)
def test_a_table_that_breaks_its_rules_says_where(text, fault):
    with pytest.raises(tables.BadTable, match=fault):
        tables.parse("x", text)


def test_every_stream_of_every_source_type_has_a_table():
    from collectord.sources import SOURCE_TYPES

    wanted = {(kind.name, stream) for kind in SOURCE_TYPES.values() for stream in kind.streams}
    assert wanted == set(DATASETS)
    for source_type, stream in wanted:
        assert mapper(source_type, stream)(b"{}")
