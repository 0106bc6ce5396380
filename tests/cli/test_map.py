"""`map`, and `preview --format ecs`: ECS documents to look at, with nothing set up, nothing saved and nothing sent."""

import json
import subprocess
import sys

import pytest

from collectord.demo.okta import OktaSimulator
from tests.cli.test_offline import run as run_at
from tests.daemon.forkserver import ROOT

OKTA = ("--type", "Okta", "--stream", "events")


def run(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "collectord", "map", *words]
    return subprocess.run(command, cwd=ROOT, input=given, capture_output=True, check=False, timeout=60)


def documents(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_maps_stdin_one_document_a_line():
    done = run(*OKTA, given=b'{"uuid":"1","eventType":"user.session.start"}\n\n{"uuid":"2","eventType":"zone.update"}')
    assert done.returncode == 0
    assert [document["event"]["id"] for document in documents(done)] == ["1", "2"]
    assert done.stderr == b""


def test_maps_a_file_and_keeps_the_original_if_asked(tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_bytes(b'{"id": "7"}\n')
    done = run("--type", "SentinelOne Mgmt API", "--stream", "threats", "--original", str(file))
    assert done.returncode == 0
    assert documents(done)[0]["event"]["original"] == '{"id": "7"}'


@pytest.mark.parametrize(
    ("line", "why"), [(b'{"uuid"', "not readable as JSON"), (b"[]", "not an object"), (b"\xff", "not readable as JSON")]
)
def test_a_line_that_is_no_object_is_named_and_the_others_are_mapped(line, why):
    done = run(*OKTA, given=b'{"uuid":"1"}\n' + line + b'\n{"uuid":"3"}\n')
    assert done.returncode == 1
    assert [document["event"]["id"] for document in documents(done)] == ["1", "3"]
    assert f"stdin: line 2 is {why}; left out".encode() in done.stderr


def test_event_types_that_the_table_does_not_know_are_named():
    done = run(*OKTA, given=b'{"eventType":"spaceship.launch"}\n' * 2)
    assert done.returncode == 0
    assert b"event type spaceship.launch is not in the table, 2 of them" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--type", "Okta", "--stream", "groups"),
            b"no ECS mapping for stream 'groups' of 'Okta'; there is: Okta events",
        ),
        ((*OKTA, "/nowhere/at/all"), b"/nowhere/at/all cannot be read: No such file or directory"),
        ((*OKTA, "/"), b"/ cannot be read: Is a directory"),
        (("--type", "Okta"), b"--stream"),
    ],
)
def test_wrong_usage_says_what_would_be_right(words, said):
    done = run(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_preview_shows_documents_whatever_the_sink(site):
    okta: OktaSimulator = site.okta()
    site.source("okta-prod", okta)
    site.configure()
    site.vendors.clear()  # nothing is to be delivered here, so the oracle need not ask
    site.call(okta.issue, 3)
    done = run_at(site, "preview", "okta-prod", "--format", "ecs")
    assert done.returncode == 0, done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["event"]["dataset"] for document in shown] == ["okta.system"] * 3
    assert {document["labels"]["source"] for document in shown} == {"okta-prod"}
    assert "as ECS documents" in done.stderr
    assert not site.sink.records
