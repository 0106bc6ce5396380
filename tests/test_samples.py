"""The samples load, say all there is, and their commented lines show the defaults; the reference names every option."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from collectord.config import Configuration, load
from collectord.settings import DaemonSettings, Environment, SinkSettings, SourceConfig, SourceOptions
from collectord.settings.sinks import AnySinkSettings
from collectord.sinks import SINK_TYPES
from collectord.sources import SOURCE_TYPES

CONFIG = Path(__file__).parent.parent / "config"
SAMPLES = [CONFIG / "collectord.yaml", *sorted(CONFIG.glob("sources.d/*.yaml"))]
SINK_SAMPLES = sorted(CONFIG.glob("sinks/*.yaml"))
DEFAULT = re.compile(r"^( *)# (\w+:.*)$", re.MULTILINE)
REFERENCE = (CONFIG / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| (.*) \|$", re.MULTILINE)
SECTIONS = {name: f"config, {name}" for name in SOURCE_TYPES}
SINKS: dict[str, type[SinkSettings]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(AnySinkSettings)[0])
}
NO_MEANING = {"Netskope": {"overlap", "page_size"}}


def name_of(path: Path) -> str:
    return path.name


def load_samples(path: Path, *uncommented: Path) -> Configuration:
    """Load all samples, with all defaults of some of them taken out of their comments."""
    shutil.copytree(CONFIG, path / "config")
    credentials = path / "credentials"
    credentials.mkdir()
    for sample in SAMPLES:
        text = sample.read_text(encoding="utf-8")
        for name in re.findall(r"\$\{credential:(\w+)\}", text):
            (credentials / name).write_text(f"the-{name}")
        if sample in uncommented:
            (path / "config" / sample.relative_to(CONFIG)).write_text(DEFAULT.sub(r"\1\2", text), encoding="utf-8")
    environment = Environment(credentials_directory=str(credentials), state_directory="/var/lib/collectord")
    return load(path / "config" / "collectord.yaml", environment)


def test_samples_load(tmp_path):
    configuration = load_samples(tmp_path)
    assert {source.type for source in configuration.sources.values()} == set(SOURCE_TYPES)
    assert configuration.warnings == ()


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_commented_lines_are_the_defaults(tmp_path, sample):
    plain = load_samples(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with_defaults = load_samples(tmp_path / "b", sample)
    assert DEFAULT.search(sample.read_text(encoding="utf-8"))
    assert with_defaults.sources == plain.sources
    moved = {"sources": plain.daemon.sources}
    assert with_defaults.daemon.model_copy(update=moved) == plain.daemon


@pytest.mark.parametrize("sample", [*SAMPLES, *SINK_SAMPLES], ids=name_of)
def test_samples_keep_their_form(sample):
    for line in sample.read_text(encoding="utf-8").splitlines():
        assert len(line) <= 120
        comment = line.strip()
        if comment.startswith("#") and comment not in {"#", "##"}:
            assert comment.startswith("## ") or DEFAULT.fullmatch(line), "## before prose, # before a default"


def options_of(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def keys_of(text: str) -> set[str]:
    return set(re.findall(r"^ *(?:# )?([\w.]+):", text, re.MULTILINE))


@pytest.mark.parametrize("sample", SAMPLES[1:], ids=name_of)
def test_samples_of_sources_show_every_option(sample):
    text = sample.read_text(encoding="utf-8")
    row = SOURCE_TYPES[yaml.safe_load(text)["source"]["schemaRef"]["type"]]
    shown = keys_of(text) - {"api.version", "source", "schemaRef", "sourceType", "config", "collectord"}
    assert shown == options_of(row.config) | options_of(SourceOptions) - NO_MEANING.get(row.name, set())


def test_the_sample_of_the_daemon_shows_every_option():
    sections: list[Any] = [field.annotation for field in DaemonSettings.model_fields.values()]
    expected = options_of(DaemonSettings).union(*(options_of(section) for section in sections if is_model(section)))
    shown = keys_of((CONFIG / "collectord.yaml").read_text(encoding="utf-8"))
    assert shown == expected | options_of(SINKS["http"]) | {"default"}


def load_sink(path: Path, text: str) -> SinkSettings:
    path.mkdir()
    (path / "sources.d").mkdir()
    for name in re.findall(r"\$\{credential:(\w+)\}", text):
        (path / name).write_text(f"the-{name}")
    (path / "collectord.yaml").write_text(f"state: {{directory: /var/lib/collectord}}\n{text}", encoding="utf-8")
    (path / "collectord.yaml").chmod(0o600)
    configuration = load(path / "collectord.yaml", Environment(credentials_directory=str(path)))
    assert [warning for warning in configuration.warnings if warning.place != "sources"] == []
    return configuration.daemon.sinks["default"]


@pytest.mark.parametrize("sample", SINK_SAMPLES, ids=name_of)
def test_samples_of_sinks_load_and_show_every_option_with_its_default(tmp_path, sample):
    text = sample.read_text(encoding="utf-8")
    plain = load_sink(tmp_path / "plain", text)
    assert plain.type == sample.stem
    assert keys_of(text) == options_of(type(plain)) | {"sinks", "default"}
    assert DEFAULT.search(text)
    assert load_sink(tmp_path / "with_defaults", DEFAULT.sub(r"\1\2", text)) == plain


def test_there_is_a_sample_for_every_type_of_sink():
    assert {sample.stem for sample in SINK_SAMPLES} | {"http"} == SINK_TYPES.keys() == SINKS.keys()


# ------------------------------------------------------------------------------------------------ reference


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def inner_model(annotation: Any) -> tuple[str, type[BaseModel]] | None:
    """What stands below an option: directly, under a name of the user's, or in a list."""
    if is_model(annotation):
        return "", annotation
    arguments = [argument for argument in get_args(annotation) if is_model(argument)]
    if not arguments:
        return None
    return (".NAME" if get_origin(annotation) is dict else ""), arguments[0]


def options(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        below = inner_model(field.annotation)
        if below is None or get_origin(field.annotation) in {dict, tuple}:
            yield prefix + name, field
        if below is not None:
            yield from options(below[1], f"{prefix}{name}{below[0]}.")


def reference() -> dict[str, dict[str, str]]:
    """Default by option by section of the reference."""
    parts = re.split(r"^##+ (.*)$", REFERENCE, flags=re.MULTILINE)
    return {
        title: {option: default for option, _, default, _ in ROW.findall(text)}
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def is_same_for_all(name: str) -> bool:
    common = SinkSettings.model_fields.get(name)
    if common is None or name == "type":
        return False
    return all(model.model_fields[name].default == common.default for model in SINKS.values())


def expected_options() -> Iterator[tuple[str, str, FieldInfo]]:
    for name, field in options(DaemonSettings, ""):
        yield "collectord.yaml", name, field
    for name, field in options(SinkSettings, "sinks.NAME."):
        if is_same_for_all(name.split(".")[2]):
            yield "A sink of every type", name, field
    for kind, model in SINKS.items():
        for name, field in options(model, "sinks.NAME."):
            if not is_same_for_all(name.split(".")[2]):
                yield f"A sink of type {kind}", name, field
    for name, field in options(SourceConfig, "config."):
        yield "Under config, every type", name, field
    for kind, row in SOURCE_TYPES.items():
        for name, field in options(row.config, "config."):
            if name.split(".")[1] not in SourceConfig.model_fields:
                yield f"Under config, {kind}", name, field
    for name, field in options(SourceOptions, "collectord."):
        yield "Under collectord, every type", name, field


@pytest.mark.parametrize(("section", "name", "field"), list(expected_options()), ids=lambda value: str(value)[:60])
def test_the_reference_has_every_option_with_its_default(section, name, field):
    said = reference()[section][name]
    if field.is_required() or name == "sinks":
        assert said == "required"
    elif field.default is None:
        assert said == "none"
    else:
        default = yaml.safe_load(said.strip("`"))
        kind: Any = TypeAdapter(field.rebuild_annotation())
        assert kind.validate_python(default) == field.default


def test_the_reference_has_no_other_option():
    said = {(section, name) for section, rows in reference().items() for name in rows}
    assert said == {(section, name) for section, name, _ in expected_options()}


def test_secrets_have_no_default():
    for _, name, field in expected_options():
        if field.annotation is SecretStr:
            assert field.is_required() or field.default is None, name


def test_a_section_for_every_type():
    assert {f"Under config, {kind}" for kind in SOURCE_TYPES} <= reference().keys()
    with pytest.raises(ValidationError):
        DaemonSettings.model_validate({"sinks": {"a": {"type": "unknown"}}})
