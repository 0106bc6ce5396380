import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectord.config import Configuration, documents, find_socket, load, parse_source
from collectord.config.wording import Report
from collectord.errors import ConfigError
from collectord.settings import Environment
from collectord.sources.okta.config import OktaConfig

FAULTS = Path(__file__).parent / "config_faults"
TOKEN = "token-of-a-test"
DAEMON = """
state: {directory: state}
sinks:
  default: {type: http, url: https://default.example.com/}
  lake: {type: http, url: https://lake.example.com/}
"""
OKTA = """
source:
  schemaRef: {type: Okta}
  config:
    name: okta
    domain: acme.okta.com
    apiKey: ${env:TOKEN}
"""


class Home:
    """A folder with the daemon's file, source files and credentials."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.credentials = path / "credentials"
        (path / "sources.d").mkdir(parents=True)
        self.credentials.mkdir()
        self.write("collectord.yaml", DAEMON)

    def write(self, name: str, text: str | bytes, mode: int = 0o600) -> Path:
        path = self.path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def load(self, **environment: str) -> Configuration:
        given = {"credentials_directory": str(self.credentials)} | environment
        return load(self.path / "collectord.yaml", Environment.model_validate(given))

    def faults(self, **environment: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(**environment)
        assert str(caught.value) == "\n".join(map(str, caught.value.faults))
        return [str(fault) for fault in caught.value.faults]

    def warnings(self, **environment: str) -> list[str]:
        return [str(warning) for warning in self.load(**environment).warnings]

    def okta(self, text: str = OKTA, **environment: str) -> OktaConfig:
        self.write("sources.d/okta.yaml", text)
        (source,) = self.load(**environment).sources.values()
        assert isinstance(source.config, OktaConfig)
        return source.config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TOKEN", TOKEN)
    return Home(tmp_path / "home")


# ------------------------------------------------------------------------------------------------ one mistake each


@pytest.mark.parametrize("file", sorted(FAULTS.glob("*[!d]")), ids=lambda file: file.name)
def test_each_mistake_is_said_once_with_its_place(home, file):
    said = file.with_name(file.name + ".expected") if file.suffix == ".json" else file
    expected = said.read_text().splitlines()[0].removeprefix("# ")
    home.write("credentials/collectord_okta", TOKEN)
    home.write("large", "x" * 70_000)
    home.write("empty", "\n")
    home.write("binary", b"\xff")
    name = "collectord.yaml" if file.name.startswith("daemon-") else f"sources.d/{file.name}"
    shutil.copy(file, home.path / name)
    assert home.faults() == [f"{name}: {expected}"]


def test_every_fault_of_every_file_in_one_pass(home):
    home.write("collectord.yaml", "state: {directory: state}\nsinks: {lake: {type: http}}\nlog: {level: 7}\nx: 1\n")
    home.write("sources.d/a.yaml", OKTA.replace("apiKey", "apikey") + "  collectord: {sinks: [sea], ca_file: no.pem}\n")
    home.write("sources.d/b.json", '{"source": {"schemaRef": {"type": "SailPoint"}, "config": {"name": "okta"}}}')
    home.write("sources.d/c.yml", "{")
    taken = "the name is taken by another source: sources.d/a.yaml: source.config.name"
    assert home.faults() == [
        "collectord.yaml: sinks.lake.url: is missing",
        "collectord.yaml: log.level: must be debug, info, warning or error",
        "collectord.yaml: x: is unknown",
        "sources.d/a.yaml: source.collectord.sinks[0]: there is no such sink; there are: lake",
        "sources.d/a.yaml: source.collectord.ca_file: there is no such file",
        "sources.d/a.yaml: source.config.apiKey: is missing",
        "sources.d/a.yaml: source.config.apikey: is unknown (did you mean apiKey?)",
        f"sources.d/b.json: source.config.name: {taken}",
        "sources.d/b.json: source.config.org_name: is missing",
        "sources.d/b.json: source.config.client_id: is missing",
        "sources.d/b.json: source.config.client_secret: is missing",
        "sources.d/b.json: source.config.supported_apis: is missing",
        "sources.d/c.yml: line 2, column 1: is not valid YAML: did not find expected node content",
    ]


def test_a_broken_daemon_file_does_not_hide_the_faults_of_sources(home):
    home.write("collectord.yaml", "sinks: [")
    home.write("sources.d/a.yaml", OKTA.replace("acme.okta.com", "acme"))
    assert [fault.split(":")[0] for fault in home.faults()] == ["collectord.yaml", "sources.d/a.yaml"]


def test_a_missing_daemon_file(home):
    missing = home.path / "collectord.yaml"
    missing.unlink()
    shutil.rmtree(home.path / "sources.d")
    assert home.faults() == [f"{missing}: file: is not there; name another by --config or $COLLECTORD_CONFIG"]


# ------------------------------------------------------------------------------------------------ what is accepted


def test_the_example_of_the_interface(home):
    home.write("credentials/sink_token", "sink-token\n")
    home.write("credentials/management_key", "management-key")
    home.write("credentials/okta", "okta-token\r\n")
    home.write(
        "collectord.yaml",
        """
        collector: {name: soc-1, category: prod/saas, fields: {env: prod}}
        sources: sources.d
        state: {directory: /var/lib/collectord}
        sinks:
          default:
            type: http
            url: https://lake.example.com/ingest
            headers: {Authorization: "Bearer ${credential:sink_token}"}
            compression: gzip
            layout: envelope
            max_batch_bytes: 1MiB
            buffer_bytes: 1GiB
            retry: {initial: 1s, max: 5m, window: 90m, then: 60m}
        management:
          listen: 127.0.0.1:8484
          access_id: admin
          access_key: ${credential:management_key}
          socket: /run/collectord/collectord.sock
        health_events: {sinks: [default]}
        stop_grace: 10s
        log: {level: info, format: auto}
        """,
    )
    home.write(
        "sources.d/okta.yaml",
        """
        api.version: v1
        source:
          schemaRef: {type: Okta}
          sourceType: Universal
          config:
            name: okta-prod
            category: sec/okta
            domain: acme.okta.com
            apiKey: ${credential:okta}
            users: true
            collectAll: true
            pollingInterval: 300
            fields: {_siemForward: true, team: iam}
            filters: []
          collectord:
            enabled: true
            sinks: [default]
            base_url: https://acme.okta.com
            proxy: http://proxy.example.com:3128
            start: 24h
            intervals: {events: 5m, users: 24h}
            overlap: 60m
            retry: {initial: 1s, max: 5m, window: 90m, then: quit}
            page_size: 1000
        """,
    )
    configuration = home.load()
    sink = configuration.daemon.sinks["default"]
    assert sink.headers["Authorization"].get_secret_value() == "Bearer sink-token"
    assert (sink.max_batch_bytes, sink.buffer_bytes, sink.retry.then) == (2**20, 2**30, 3600.0)
    assert configuration.daemon.management.socket == "/run/collectord/collectord.sock"
    source = configuration.sources["okta-prod"]
    assert isinstance(source.config, OktaConfig)
    assert source.config.apiKey.get_secret_value() == "okta-token"
    assert source.config.siem_forward
    assert source.config.custom_fields == {"team": "iam"}
    assert source.options.retry.policy(3600.0).then == "quit"
    assert source.options.start == 86400.0
    assert (source.interval_seconds("events"), source.interval_seconds("users")) == (300.0, 86400.0)
    assert configuration.warnings == ()
    assert configuration.secrets >= {"sink-token", "Bearer sink-token", "management-key", "okta-token"}
    assert not any(secret in repr(configuration.daemon) + repr(source) for secret in configuration.secrets)


EXPORTS = [
    {
        "api.version": "v1",
        "source": {
            "id": 116000001,
            "schemaRef": {"type": "Okta"},
            "config": {
                "name": "okta-prod",
                "description": "corp tenant",
                "category": "sec/okta",
                "domain": "acme-admin.okta.com",
                "apiKey": "00abcdefgh",
                "users": True,
                "collectAll": False,
                "eventTypes": "user.session.start,user.session.end",
                "pollingInterval": 300,
                "fields": {"_siemForward": True, "team": "iam"},
            },
            "state": {"state": "Collecting"},
            "sourceType": "Universal",
            "alive": True,
            "file": "sources.d/okta.yaml",
        },
    },
    {
        "api.version": "v1",
        "sources": [
            {
                "schemaRef": {"type": "SailPoint"},
                "sourceType": "Universal",
                "config": {
                    "name": "isc",
                    "description": None,
                    "category": "sec/sailpoint",
                    "org_name": "acme",
                    "client_id": "2d5f6e",
                    "client_secret": "9b0e1c",
                    "supported_apis": ["Events", "Users"],
                    "fields": {"_siemForward": True},
                },
            },
            {
                "schemaRef": {"type": "SentinelOne Mgmt API", "version": "latest"},
                "sourceType": "Universal",
                "state": {"state": "Error", "errorType": "THIRD-PARTY-CONFIG", "errorCode": 401, "errorInfo": "x"},
                "config": {
                    "name": "s1",
                    "base_url": "https://acme.sentinelone.net/",
                    "api_secret": "eyJhbGciOi",
                    "supported_apis": ["activities", "agents", "threats"],
                    "fields": None,
                },
                "filters": [{"filterType": "Mask", "name": "ip", "regexp": "(1)", "mask": "#IP#"}],
                "hashAlgorithm": "md5",
            },
            {
                "schemaRef": {"type": "Netskope"},
                "config": {
                    "name": "nsk-eu",
                    "tenantID": "acme.eu",
                    "apiToken": "0123456789",
                    "eventTypes": ["Page", "audit", "incident"],
                    "category": "",
                },
            },
        ],
    },
]


def test_exports_of_sumo_load_as_they_are(home):
    for number, export in enumerate(EXPORTS):
        home.write(f"sources.d/{number}.json", json.dumps(export, indent=2))
    sources = home.load().sources
    assert {name: source.type for name, source in sources.items()} == {
        "okta-prod": "Okta",
        "isc": "SailPoint",
        "s1": "SentinelOne Mgmt API",
        "nsk-eu": "Netskope",
    }
    assert [rule.mask for rule in sources["s1"].config.filters] == ["#IP#"]
    assert sources["s1"].config.hashAlgorithm == "MD5"
    assert sources["s1"].config.fields == {}
    assert sources["nsk-eu"].config.category is None


def test_yaml_and_json_say_the_same(home):
    for number, export in enumerate(EXPORTS):
        home.write(f"sources.d/{number}.json", "\ufeff" + json.dumps(export))
    from_json = home.load().sources
    for number, export in enumerate(EXPORTS):
        (home.path / f"sources.d/{number}.json").unlink()
        home.write(f"sources.d/{number}.yaml", yaml.safe_dump(export))
    assert home.load().sources == from_json


@pytest.mark.parametrize("place", ["config", "beside"])
def test_rules_stand_in_config_or_beside_it(home, place):
    indent = "    " if place == "config" else "  "
    lines = f"{indent}filters: [{{name: a, filterType: Hash, regexp: (x)}}]\n{indent}hashAlgorithm: SHA-256\n"
    config = home.okta(OKTA + lines)
    assert (config.filters[0].filterType, config.hashAlgorithm) == ("Hash", "SHA-256")


def test_rules_may_stand_in_both_places_if_they_are_the_same(home):
    line = "filters: [{name: a, filterType: Hash, regexp: (x)}]\n"
    assert len(home.okta(OKTA + "    " + line + "  " + line).filters) == 1


def test_null_means_the_default(home):
    nulls = "    description: null\n    category:\n    fields: ~\n    eventTypes: null\n    users: null\n    filters:\n"
    options = "  collectord: {sinks: null, start: null, intervals: null, retry: null, page_size: null}\n"
    assert home.okta(OKTA + nulls + options) == home.okta(OKTA)


def test_only_files_of_the_three_kinds_are_read(home):
    for name in ["notes.txt", "okta.yaml~", ".hidden.yaml", "okta.yaml.bak", "README"]:
        home.write(f"sources.d/{name}", "{ broken")
    (home.path / "sources.d" / "folder").mkdir()
    home.write("sources.d/okta.yml", OKTA)
    assert [source.file for source in home.load().sources.values()] == ["sources.d/okta.yml"]


def test_the_folder_of_sources_may_be_anywhere(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    home.write("collectord.yaml", DAEMON + f"sources: {elsewhere}\n")
    (elsewhere / "okta.yaml").write_text(OKTA)
    assert [source.file for source in home.load().sources.values()] == [str(elsewhere / "okta.yaml")]


def test_a_disabled_source_is_there_all_the_same(home):
    home.write("sources.d/okta.yaml", OKTA + "  collectord: {enabled: false}\n")
    assert not home.load().sources["okta"].options.enabled


# ------------------------------------------------------------------------------------------------ YAML's traps


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("00.5", "00.5"),
        (".inf", ".inf"),
        ("9" * 40, "9" * 40),
        ("2026-11-01", "2026-11-01"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        ("=", "="),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("*a", "anchored"),
    ],
)
def test_scalars_are_those_of_the_core_schema(tmp_path, text, value):
    file = tmp_path / "file.yaml"
    file.write_text(f"anchor: &a anchored\nkey: {text}\n")
    report = Report("file.yaml")
    read = documents.read(file, report)["key"]
    assert (read, type(read), report.faults) == (value, type(value), [])


def test_keys_are_always_text(tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text("{1: a, true: b, no: c, ~: d}")
    assert documents.read(file, Report("file.yaml")) == {"1": "a", "true": "b", "no": "c", "~": "d"}


@settings(max_examples=300)
@given(text=st.text(st.sampled_from("ab:#&*!|>'\"%@`,-?{}[]()<~0.\n\t $\\\x00\ud7ff\U0001f600"), max_size=60))
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_any_text_is_read_or_refused(tmp_path_factory, text, suffix):
    file = tmp_path_factory.getbasetemp() / f"any{suffix}"
    file.write_text(text, encoding="utf-8")
    report = Report("any")
    assert (documents.read(file, report) is not None) or report.faults


printable = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=8)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | printable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(printable, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200)
@given(tree=trees.filter(lambda tree: tree is not None and "<<" not in json.dumps(tree)))
def test_what_others_write_is_read_as_it_was_meant(tmp_path_factory, tree):
    files = {
        "tree.json": json.dumps(tree),
        "json.yaml": json.dumps(tree, ensure_ascii=False),  # a subset of YAML 1.2
        "quoted.yaml": yaml.safe_dump(tree, default_style='"', allow_unicode=True),
    }
    for name, text in files.items():
        file = tmp_path_factory.getbasetemp() / name
        file.write_text(text, encoding="utf-8")
        assert documents.read(file, Report(name)) == tree


# ------------------------------------------------------------------------------------------------ unreadable files


def test_a_file_that_is_not_utf8(home):
    home.write("sources.d/okta.yaml", OKTA.encode() + b"    description: caf\xe9\n")
    assert home.faults() == [f"sources.d/okta.yaml: byte {len(OKTA) + 20}: is not UTF-8"]


def test_a_control_character(home):
    home.write("sources.d/okta.yaml", OKTA + "    description: \x07\n")
    assert home.faults()[0].endswith(": is a control character")


def test_files_that_are_none(home):
    (home.path / "sources.d" / "folder.yaml").mkdir()
    (home.path / "sources.d" / "gone.yaml").symlink_to("nowhere")
    os.mkfifo(home.path / "sources.d" / "pipe.yaml")  # reading it would wait for ever
    assert home.faults() == [
        "sources.d/folder.yaml: file: is no regular file",
        "sources.d/gone.yaml: file: cannot be read: No such file or directory",
        "sources.d/pipe.yaml: file: is no regular file",
    ]


def test_a_file_of_absurd_size(home):
    file = home.write("sources.d/okta.yaml", OKTA)
    os.truncate(file, 2**34)
    assert home.faults() == ["sources.d/okta.yaml: file: is larger than 16 MiB"]


# ------------------------------------------------------------------------------------------------ references


def test_references_are_replaced_wherever_text_stands(home, monkeypatch):
    monkeypatch.setenv("HOST_PART", "acme")
    monkeypatch.setenv("USERS", "true")
    monkeypatch.setenv("SECONDS", "30")
    home.write("credentials/okta", "from-credential\n")
    home.write("secret", "from-file\n\n")
    config = home.okta(
        """
        source:
          schemaRef: {type: Okta}
          config:
            name: okta
            domain: ${env:HOST_PART}.okta.com
            apiKey: ${credential:okta}+${file:secret}
            users: ${env:USERS}
            pollingInterval: ${env:SECONDS}
            fields: {_siemForward: "${env:USERS}", a: "${env:HOST_PART} and ${env:HOST_PART}"}
            filters: [{name: r, filterType: Include, regexp: "${env:HOST_PART}"}]
        """
    )
    assert config.domain == "acme.okta.com"
    assert config.apiKey.get_secret_value() == "from-credential+from-file"
    assert config.users is True
    assert config.pollingInterval == 30
    assert config.fields == {"_siemForward": True, "a": "acme and acme"}
    assert config.filters[0].regexp == "acme"


def test_what_was_replaced_is_not_looked_at_again(home):
    home.write("secret", "a${env:TOKEN}")
    assert home.okta(OKTA.replace("env:TOKEN", "file:secret")).apiKey.get_secret_value() == "a${env:TOKEN}"


def test_a_doubled_dollar_stands_for_itself(home):
    assert home.okta(OKTA + "    description: 'a $${env:X} $ $$ }'\n").description == "a ${env:X} $ $$ }"


def test_references_are_read_again_at_each_load(home):
    text = OKTA.replace("env:TOKEN", "file:secret")
    home.write("secret", "first-secret")
    home.write("sources.d/okta.yaml", text)
    first = home.load().sources["okta"]
    assert home.load().sources["okta"] == first
    home.write("secret", "other-secret")
    assert home.load().sources["okta"] != first


def test_credentials_without_their_folder(home):
    home.write("sources.d/okta.yaml", OKTA.replace("env:TOKEN", "credential:okta"))
    with pytest.raises(ConfigError, match=r"credential okta is not there: \$CREDENTIALS_DIRECTORY is not set"):
        load(home.path / "collectord.yaml", Environment(credentials_directory=None))


def test_a_reference_into_a_pipe_does_not_wait(home):
    os.mkfifo(home.path / "secret")
    home.write("sources.d/okta.yaml", OKTA.replace("env:TOKEN", "file:secret"))
    assert home.faults() == ["sources.d/okta.yaml: source.config.apiKey: file secret is no regular file"]


# ------------------------------------------------------------------------------------------------ secrets


def test_a_file_of_a_secret_that_others_may_read(home):
    secret = home.write("secret", "long-secret", mode=0o640)
    home.write("sources.d/okta.yaml", OKTA.replace("env:TOKEN", "file:secret"))
    expected = f"sources.d/okta.yaml: source.config.apiKey: other users may read the secret: chmod 600 {secret}"
    assert home.warnings() == [expected]
    secret.chmod(0o600)
    assert home.warnings() == []


@pytest.mark.parametrize("reference", ["credential:okta", "file:credentials/okta"])
def test_modes_below_the_credentials_directory_are_systemds(home, reference):
    home.write("credentials/okta", "long-secret", mode=0o444)
    home.write("sources.d/okta.yaml", OKTA.replace("env:TOKEN", reference), mode=0o644)
    assert home.warnings() == []


def test_a_secret_inside_a_file_that_others_may_read(home):
    home.write("sources.d/okta.yaml", OKTA.replace("${env:TOKEN}", "long-secret"), mode=0o644)
    (warning,) = home.warnings()
    assert warning.startswith("sources.d/okta.yaml: source.config.apiKey: the secret stands in a file that other users")
    home.write("sources.d/okta.yaml", OKTA.replace("${env:TOKEN}", "long-secret"))
    assert home.warnings() == []


def test_secrets_of_the_daemons_file_that_others_may_read(home):
    daemon = """
        state: {directory: state}
        sinks:
          plain: {type: http, url: https://lake.example.com/ingest, headers: {X-Team: soc}}
          password: {type: http, url: "https://me:password@lake.example.com/"}
          path: {type: http, url: https://lake.example.com/receiver/ZaVnC4dhaV2mQpLxT8}
          header: {type: http, url: https://lake.example.com/, headers: {Authorization: Bearer abcdefgh}}
        management: {listen: "127.0.0.1:1", access_key: abcdefgh}
        """
    home.write("collectord.yaml", daemon, mode=0o644)
    home.write("sources.d/okta.yaml", OKTA)
    assert [warning.split(": ")[1] for warning in home.warnings()] == [
        "sinks.password.url",
        "sinks.header.headers.Authorization",
        "management.access_key",
    ]


def test_what_a_log_must_never_show(home):
    home.write("credentials/okta", "from-credential\n")
    home.write("credentials/short", "abc")
    home.write("category", "from-file")
    home.write(
        "collectord.yaml",
        DAEMON
        + """
  secret:
    type: http
    url: https://a.example.com/?key=abcdefgh
    headers: {Authorization: Bearer sink-token, X-Team: people}
management: {access_key: management-key}
""",
    )
    home.write(
        "sources.d/okta.yaml",
        OKTA.replace("env:TOKEN", "credential:okta")
        + "    category: ${file:category}\n    description: ${credential:short}\n"
        + "  collectord: {proxy: http://me:password@proxy.example.com}\n",
    )
    assert home.load().secrets == {
        "from-credential",
        "from-file",
        "https://a.example.com/?key=abcdefgh",
        "Bearer sink-token",
        "sink-token",
        "management-key",
        "http://me:password@proxy.example.com",
    }


SECRET = "S3cr3tValueThatNobodySees"
SECRET_PLACES = {
    "okta": ["apiKey"],
    "sailpoint": ["client_id", "client_secret"],
    "sentinelone": ["api_secret"],
    "netskope": ["apiToken"],
}
VALID: dict[str, tuple[str, dict[str, Any]]] = {
    "okta": ("Okta", {"domain": "acme.okta.com"}),
    "sailpoint": ("SailPoint", {"org_name": "acme", "supported_apis": ["Events"]}),
    "sentinelone": ("SentinelOne Mgmt API", {"base_url": "acme.sentinelone.net", "supported_apis": ["agents"]}),
    "netskope": ("Netskope", {"tenantID": "acme"}),
}
wrongly_typed = st.recursive(
    st.just(SECRET) | st.just(f"http://me:{SECRET}@a b") | st.just(f"*{SECRET}") | st.just("${" + SECRET + "}"),
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(st.just("key"), inner, min_size=1),
    max_leaves=3,
)
options = st.sampled_from([
    "base_url", "proxy", "start", "overlap", "page_size", "sinks", "intervals", "retry", "enabled", "ca_file",
])  # fmt: skip
parameters = st.sampled_from([
    "name", "category", "fields", "filters", "hashAlgorithm", "domain", "apiKey", "users", "eventTypes", "org_name",
    "client_id", "supported_apis", "base_url", "api_secret", "tenantID", "apiToken", "pollingInterval", "collectAll",
])  # fmt: skip


def everything_said(home: Home) -> str:
    try:
        warnings = home.load().warnings
    except ConfigError as error:
        return f"{error!s}{error.faults!r}{error.message}{error.info}"
    return repr(warnings)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_fault_ever_holds_a_secret_of_the_wrong_type_or_in_the_wrong_place(home, data):
    kind, config = VALID[vendor := data.draw(st.sampled_from(sorted(VALID)))]
    wrong = data.draw(st.dictionaries(parameters, wrongly_typed, max_size=4))
    config = {"name": "it", **config, **dict.fromkeys(SECRET_PLACES[vendor], SECRET), **wrong}
    source = {
        "schemaRef": {"type": kind},
        "config": config,
        "collectord": data.draw(st.dictionaries(options, wrongly_typed)),
    }
    home.write("sources.d/it.json", json.dumps({"source": source}), mode=data.draw(st.sampled_from([0o600, 0o644])))
    assert SECRET not in everything_said(home)


daemon_places = st.sampled_from([
    ("collector", "name"), ("collector", "category"), ("collector", "fields"), ("state", "directory"),
    ("sinks", "lake", "url"), ("sinks", "lake", "headers"), ("sinks", "lake", "retry"), ("sinks", "lake", "layout"),
    ("sinks", "lake", "type"), ("sinks", "lake", "ca_file"), ("management", "listen"), ("management", "access_id"),
    ("management", "access_key"), ("management", "socket"), ("log", "level"), ("health_events", "sinks"),
    ("stop_grace",), ("sinks", "lake", "timeout"), ("sinks", "lake", "buffer_bytes"), ("sinks",), ("log",),
])  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(wrong=st.dictionaries(daemon_places, wrongly_typed, max_size=4))
def test_no_fault_of_the_daemons_file_ever_holds_a_secret(home, wrong):
    tree: dict[str, Any] = {
        "state": {"directory": "state"},
        "sinks": {"lake": {"type": "http", "url": "https://a.example.com"}},
    }
    for place, value in wrong.items():
        inner: Any = tree
        for step in place[:-1]:
            inner = inner.setdefault(step, {}) if isinstance(inner, dict) else {}
        if isinstance(inner, dict):
            inner[place[-1]] = value
    home.write("collectord.yaml", json.dumps(tree))  # JSON is YAML
    # Paths and names of sinks are said, as they must be: there is no other way to name them.
    named = ("state", "directory") in wrong or ("sinks",) in wrong
    assert named or SECRET not in everything_said(home)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    slips=st.lists(
        st.tuples(
            st.integers(0, 400), st.text(st.sampled_from("{}[]:#&*!|>'\"%@`,-?\n\t $~<\\"), min_size=1, max_size=3)
        ),
        min_size=1,
        max_size=3,
    ),
    vendor=st.sampled_from(sorted(VALID)),
)
def test_no_slip_of_the_pen_makes_a_fault_hold_a_secret(home, slips, vendor):
    kind, config = VALID[vendor]
    config = {"name": "it", **dict.fromkeys(SECRET_PLACES[vendor], "\ue000"), **config, "fields": {"a": "b"}}
    source = {"source": {"schemaRef": {"type": kind}, "config": config}}
    text = yaml.safe_dump(source, sort_keys=False, allow_unicode=True)
    for position, slip in slips:
        at = position % len(text)
        text = text[:at] + slip + text[at:]
    home.write("sources.d/it.yaml", text.replace("\ue000", SECRET))
    # A secret before a colon is a key, and an unknown key is named.
    assert re.search(r"\ue000['\"]?\s*:", text) or SECRET not in everything_said(home)


# ------------------------------------------------------------------------------------------------ certificates


def test_certificates_stand_in_the_settings_as_text(home):
    ca, other = trustme.CA(), trustme.CA()
    home.write("ca.pem", "A comment with an ümlaut\n" + ca.cert_pem.bytes().decode())
    home.write("sources.d/okta.yaml", OKTA + "  collectord: {ca_file: ca.pem}\n")
    home.write("collectord.yaml", DAEMON.replace("lake.example.com/", "lake.example.com/, ca_file: ca.pem"))
    before = home.load()
    assert before.sources["okta"].options.ca_file == ca.cert_pem.bytes().decode().strip()
    assert before.daemon.sinks["lake"].ca_file == before.sources["okta"].options.ca_file
    home.write("ca.pem", ca.cert_pem.bytes())
    assert home.load().sources == before.sources
    home.write("ca.pem", other.cert_pem.bytes() + ca.cert_pem.bytes())
    after = home.load()
    assert after.sources["okta"] != before.sources["okta"]
    assert after.daemon.sinks["lake"] != before.daemon.sinks["lake"]


@pytest.mark.parametrize(
    "damage", [("-----END", "-----MID"), ("A", "B"), ("-----BEGIN CERT", "-----BEGIN X")], ids=repr
)
def test_certificates_that_are_none(home, damage):
    home.write("ca.pem", trustme.CA().cert_pem.bytes().decode().replace(*damage))
    home.write("sources.d/okta.yaml", OKTA + "  collectord: {ca_file: ca.pem}\n")
    place = "sources.d/okta.yaml: source.collectord.ca_file"
    assert home.faults() == [f"{place}: holds no PEM certificates that can be read"]


# ------------------------------------------------------------------------------------------------ places and warnings


def test_an_empty_folder_is_a_warning(home):
    expected = "the folder holds no .yaml, .yml or .json file, so nothing is collected"
    assert home.warnings() == [f"collectord.yaml: sources: {expected}"]


@pytest.mark.parametrize(
    ("url", "count"), [("http://lake.example.com", 1), ("http://127.0.0.1:9", 0), ("http://[::1]", 0)]
)
def test_a_sink_without_tls_is_a_warning(home, url, count):
    home.write("collectord.yaml", DAEMON.replace("https://lake.example.com/", f'"{url}"'))
    home.write("sources.d/okta.yaml", OKTA)
    assert len(home.warnings()) == count


@pytest.mark.parametrize(("listen", "count"), [("0.0.0.0:8484", 1), ("127.0.0.1:8484", 0), ("[::1]:0", 0)])
def test_a_page_for_everybody_is_a_warning(home, listen, count):
    home.write("collectord.yaml", DAEMON + f'management: {{listen: "{listen}", access_key: "${{env:TOKEN}}"}}\n')
    home.write("sources.d/okta.yaml", OKTA)
    assert len(home.warnings()) == count


def test_paths_are_absolute_once_loaded(home):
    daemon = home.load().daemon
    state = home.path / "state"
    assert daemon.sources == str(home.path / "sources.d")
    assert daemon.state.directory == str(state)
    assert daemon.management.socket == str(state / "collectord.sock")


def test_folders_of_systemd_are_the_defaults(home):
    home.write("collectord.yaml", DAEMON.replace("state: {directory: state}", ""))
    daemon = home.load(state_directory="/var/lib/a:/var/lib/b", runtime_directory="/run/a:/run/b").daemon
    assert daemon.state.directory == "/var/lib/a"
    assert daemon.management.socket == "/run/a/collectord.sock"


def test_the_socket_is_found_without_credentials(home):
    home.write("collectord.yaml", DAEMON + "management: {access_key: '${credential:none}'}\n")
    assert find_socket(home.path / "collectord.yaml", Environment()) == home.path / "state" / "collectord.sock"
    home.write("runtime.sock", "")
    home.write("collectord.yaml", DAEMON + "management: {socket: runtime.sock}\n")
    assert find_socket(home.path / "collectord.yaml", Environment()) == home.path / "runtime.sock"
    assert find_socket(home.path / "nowhere.yaml", Environment()) == Path("/run/collectord/collectord.sock")


# ------------------------------------------------------------------------------------------------ sources by the API


def test_a_source_that_came_by_the_api(home):
    daemon = home.load().daemon
    source, secrets = parse_source(EXPORTS[0], daemon, home.path)
    assert source.name == "okta-prod"
    assert secrets == {"00abcdefgh"}


def test_a_source_that_came_by_the_api_reads_no_files(home):
    document = {"source": {"schemaRef": {"type": "Okta"}, "config": {"name": "a", "domain": "a.okta.com"}}}
    document["source"]["config"]["apiKey"] = "${file:/etc/passwd}"
    with pytest.raises(ConfigError, match=r"^request: source.config.apiKey: references work in files only$"):
        parse_source(document, home.load().daemon, home.path)


@pytest.mark.parametrize("document", [None, [], "", {"sources": []}, {"source": {}}, EXPORTS[1]])
def test_something_else_that_came_by_the_api(home, document):
    with pytest.raises(ConfigError):
        parse_source(document, home.load().daemon, home.path)


# ------------------------------------------------------------------------------------------------ speed


def test_a_thousand_files_load_in_two_seconds(home):
    for number in range(1000):
        text = OKTA.replace("name: okta", f"name: okta-{number}") + "    fields: {team: iam, _siemForward: true}\n"
        home.write(f"sources.d/{number:04}.yaml", text + "  collectord: {sinks: [lake], intervals: {events: 1m}}\n")
    began = time.process_time()
    assert len(home.load().sources) == 1000
    assert time.process_time() - began < 2.0


def test_a_credential_of_a_folder_that_the_unit_loads_needs_no_prefix(home):
    home.write("credentials/collectord_okta", TOKEN)
    config = home.okta(OKTA.replace("${env:TOKEN}", "${credential:okta}"))
    assert config.apiKey.get_secret_value() == TOKEN
