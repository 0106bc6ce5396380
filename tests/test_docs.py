"""The documentation is true: its commands are commands, its links lead somewhere, nothing is left out."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from pydantic import SecretStr

from collectord.cli import _parser
from collectord.config import load
from collectord.health import WATCHED
from collectord.settings import Environment
from tests.test_samples import expected_options
from tests.test_vendor_pages import DAEMON

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "config").glob("*.md"), *(ROOT / "systemd").glob("*.md")])
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"(?:^|[|&] *)(?:\$ )?(?:/opt/collectord/bin/|\.venv/bin/|\$)?collectord +([a-z][^|>#\n]*)", re.MULTILINE
)
INLINE = re.compile(r"`collectord ([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")
FRONT_PAGE_LINES = 120


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def example_commands(page: Path) -> Iterator[str]:
    """The commands in a page's fenced blocks, without what a shell does to them."""
    for language, block in FENCED.findall(text_of(page)):
        if language in {"", "sh"}:
            yield from (found.strip().split(" && ")[0] for found in COMMAND.findall(block.replace("\\\n", " ")))


def parse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        _parser().parse_args(words)
    except SystemExit:
        pytest.fail(f"collectord {shlex.join(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_shown_is_one(page, capsys):
    for command in example_commands(page):
        parse(shlex.split(command), capsys)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_within_a_sentence_begins_as_one(page):
    there = {words[0] for words, _ in commands(_parser(), ())}
    for command in INLINE.findall(text_of(page)):
        assert command.split()[0] in there, command


def test_the_pages_show_commands_at_all():
    assert len([command for page in PAGES for command in example_commands(page)]) > 14


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Every command with its options, those of all of them left out."""
    actions = parser._actions
    groups = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for name, inner in group.choices.items():
            yield from commands(inner, (*words, name))
    if words and not groups:
        flags = {flag for action in actions for flag in action.option_strings if flag.startswith("--")}
        yield words, flags - {"--help", "--config"}


@pytest.mark.parametrize(("words", "flags"), [*commands(_parser(), ())], ids=lambda value: str(value)[:40])
def test_the_page_of_the_commands_has_each_with_its_options(words, flags):
    told = re.findall(r"`(collectord [^`]+)`", text_of(ROOT / "config" / "tools.md").partition("## All of them")[2])
    form = next((each for each in told if each.startswith(f"collectord {' '.join(words)}")), None)
    assert form is not None
    assert set(re.findall(r"--[a-z]+", form)) == flags


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(text_of(page)):
        if "://" in target:
            continue
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(place), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_front_page_is_a_page():
    assert len(text_of(ROOT / "README.md").splitlines()) <= FRONT_PAGE_LINES


def test_every_page_is_found_from_the_front_page():
    seen: set[Path] = set()
    found = {ROOT / "README.md"}
    while new := found - seen:
        seen |= new
        for page in new:
            targets = ((page.parent / target).resolve() for target, _ in LINK.findall(text_of(page)) if target)
            found |= {target for target in targets if target in PAGES}
    assert found == set(PAGES)


def warnings() -> set[str]:
    """Every health event that does not belong to one vendor's page."""
    named = {"ThirdPartyConfigError", "ThirdPartyGenericError", "FirstPartyGenericError", *WATCHED}
    for path in (ROOT / "collectord").rglob("*.py"):
        if "sources" not in path.parts and "demo" not in path.parts:
            named |= set(re.findall(r'Notice\(\s*f?"(\w+)"', text_of(path)))
    return named


@pytest.mark.parametrize("event", sorted(warnings()))
def test_every_health_event_stands_in_the_table_of_troubles(event):
    assert f"`{event}`" in text_of(ROOT / "systemd" / "README.md")


# --------------------------------------------------------------------------------------------------- options

OPTION = re.compile(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| (.*) \|$", re.MULTILINE)
TYPES: dict[object, tuple[str, ...]] = {
    bool: ("boolean",),
    float: ("duration",),
    int: ("size", "number"),
    SecretStr: ("secret", "URL"),
    dict: ("mapping",),
    tuple: ("list",),
}
"""What the column of types says of a Python type; the unit is in the word."""


def option_rows() -> dict[tuple[str, str], list[str]]:
    """Type, default and meaning by section and option."""
    parts = re.split(r"^##+ (.*)$", text_of(ROOT / "config" / "README.md"), flags=re.MULTILINE)
    return {
        (section, option): cells
        for section, text in zip(parts[1::2], parts[2::2], strict=True)
        for option, *cells in OPTION.findall(text)
    }


def words_for(annotation: object) -> tuple[str, ...]:
    """One of these must be in the column of types; of a choice, each of its values."""
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        return ()
    if get_origin(annotation) in {Union, UnionType}:
        return tuple(word for part in inner for word in words_for(part))
    if get_origin(annotation) is Annotated:
        return words_for(inner[0])
    return TYPES.get(get_origin(annotation) or annotation, ())


def test_each_option_has_a_type_a_default_and_a_meaning():
    assert [place for place, cells in option_rows().items() if not all(cell.strip() for cell in cells)] == []


@pytest.mark.parametrize(("section", "name", "field"), [*expected_options()], ids=lambda value: str(value)[:60])
def test_the_types_and_units_of_options_are_those_of_the_code(section, name, field):
    told = option_rows()[section, name][0]
    words = words_for(field.annotation)
    assert not words or any(word in told for word in words)
    if get_origin(field.annotation) is Literal:
        assert all(f"`{value}`" in told for value in get_args(field.annotation))


# ---------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize("page", ["README.md", "config/tools.md"])
def test_the_configuration_that_is_shown_is_valid(tmp_path, page):
    blocks = [block for language, block in FENCED.findall(text_of(ROOT / page)) if language == "yaml"]
    sources = [block for block in blocks if block.startswith("source:")]
    daemons = [block for block in blocks if block.startswith("sinks:")] or [DAEMON]
    assert len(sources) + len(daemons) == max(2, len(blocks))
    (tmp_path / "sources.d").mkdir()
    for number, source in enumerate(sources):
        (tmp_path / "sources.d" / f"{number}.yaml").write_text(source)
    (tmp_path / "collectord.yaml").write_text(daemons[0])
    (tmp_path / "okta").write_text("the-token")
    environment = Environment(credentials_directory=str(tmp_path), state_directory="/var/lib/collectord")
    configuration = load(tmp_path / "collectord.yaml", environment)
    assert len(configuration.sources) == len(sources)
    assert configuration.warnings == ()
