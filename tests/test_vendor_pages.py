"""The page of each vendor: its files are valid, it leaves no option, stream or warning out, its errors are ours."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import trustme
import yaml

from collectord import sources
from collectord.config import Configuration, load
from collectord.settings import Environment, SourceOptions
from collectord.sources import SOURCE_TYPES

CONFIG = Path(__file__).parent.parent / "config"
PAGES = {"Okta": "okta", "SailPoint": "sailpoint", "SentinelOne Mgmt API": "sentinelone", "Netskope": "netskope"}
FILE = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
DAEMON = 'sinks: {default: {type: http, url: "https://lake.example.com/ingest"}}\n'
TWO_SCREENS = 100
ANYTHING = "…"

pytestmark = pytest.mark.parametrize("kind", list(SOURCE_TYPES))


def page(kind: str) -> str:
    return (CONFIG / f"{PAGES[kind]}.md").read_text(encoding="utf-8")


def module_of(kind: str) -> ModuleType:
    module: ModuleType = getattr(sources, PAGES[kind])
    return module


def loaded(kind: str, text: str, directory: Path) -> Configuration:
    """Load one of the page's files; its credentials are there, and so are its certificates."""
    certificates = directory / "ca.pem"
    certificates.write_bytes(trustme.CA().cert_pem.bytes())
    (directory / "sources.d").mkdir()
    text = text.replace("/etc/ssl/certs/ca-certificates.crt", str(certificates))
    (directory / "sources.d" / f"{PAGES[kind]}.yaml").write_text(text)
    for name in re.findall(r"\$\{credential:(\w+)\}", text):
        (directory / name).write_text(f"the-{name}")
    (directory / "collectord.yaml").write_text(DAEMON)
    environment = Environment(credentials_directory=str(directory), state_directory="/var/lib/collectord")
    return load(directory / "collectord.yaml", environment)


@pytest.mark.parametrize("which", [0, 1], ids=["least", "all"])
def test_its_source_files_are_valid(tmp_path, kind, which):
    configuration = loaded(kind, FILE.findall(page(kind))[which], tmp_path)
    assert [source.type for source in configuration.sources.values()] == [kind]
    assert configuration.warnings == ()


def test_its_largest_file_has_every_option(kind):
    row = SOURCE_TYPES[kind]
    source = yaml.safe_load(FILE.findall(page(kind))[1])["source"]
    decided_by_vendor = {"page_size"} if row.config.max_page_size is None else set()
    assert source["config"].keys() == row.config.model_fields.keys()
    assert source["collectord"].keys() == SourceOptions.model_fields.keys() - decided_by_vendor


def test_its_smallest_file_has_what_must_be_there_and_what_to_collect(kind):
    fields = SOURCE_TYPES[kind].config.model_fields
    given = yaml.safe_load(FILE.findall(page(kind))[0])["source"]["config"].keys()
    assert given == {name for name, field in fields.items() if field.is_required()}


def test_it_tells_of_every_stream_with_its_interval_in_the_table(kind):
    rows = re.search(r"## What is collected\n(.*?)\n## ", page(kind), re.DOTALL)
    assert rows is not None
    table = [line for line in rows[1].splitlines() if line.startswith("| `")]
    for stream, about in SOURCE_TYPES[kind].streams.items():
        row = next(line for line in table if f"`{stream}`" in line.split("|")[1])
        minutes = about.interval_seconds / 60
        assert (f"{minutes:g} min" if minutes < 60 else f"{minutes / 60:g} h") == row.split("|")[3].strip()
        assert ("no: an inventory" in row) == about.inventory


def said_by(kind: str) -> Iterator[str]:
    """Every text in the vendor's modules, with `…` for what is filled in."""
    for path in Path(inspect.getfile(module_of(kind))).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else ANYTHING for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def is_said(phrase: str, texts: list[str]) -> bool:
    pattern = re.compile(".*".join(re.escape(part) for part in phrase.split(ANYTHING)), re.DOTALL)
    return any(pattern.search(text) for text in texts)


def test_its_errors_are_those_that_the_code_says(kind):
    table = re.search(r"## What an error means\n(.*?)\n## ", page(kind), re.DOTALL)
    assert table is not None
    texts = list(said_by(kind))
    first_cells = [line.split("|")[1] for line in table[1].splitlines() if line.startswith("| ")][1:]
    phrases = [phrase for cell in first_cells if "Warning" not in cell for phrase in re.findall(r"`([^`]+)`", cell)]
    assert len(phrases) >= 5
    for phrase in phrases:
        assert is_said(phrase, texts), phrase


def test_it_explains_every_warning_of_this_vendor(kind):
    stem = module_of(kind).SOURCE_TYPE.config.__name__.removesuffix("Config")
    warnings = {text.partition(ANYTHING)[0] for text in said_by(kind) if re.fullmatch(rf"{stem}[A-Z]\w+…?\w*…?", text)}
    explained = set(re.findall(r"`(\w+)`", page(kind)))
    for warning in warnings - {f"{stem}Config"}:
        assert any(each.startswith(warning) for each in explained), warning


def test_it_is_found_from_the_front_page_and_the_reference(kind):
    assert f"({PAGES[kind]}.md)" in (CONFIG / "README.md").read_text(encoding="utf-8")
    assert f"(config/{PAGES[kind]}.md)" in (CONFIG.parent / "README.md").read_text(encoding="utf-8")


def test_it_fits_two_screens(kind):
    lines = page(kind).splitlines()
    assert len(lines) <= TWO_SCREENS
