"""A stand-in for Elasticsearch 8 and OpenSearch 2: `_bulk` into data streams, with the errors that they document."""

import base64
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from collectord.demo.exchange import Answer, Call
from tests.sinks.stand_in import SECRET, BadBody, StandIn, text_of

Verdict = tuple[int, str, str]
"""Status, type and reason."""
_METADATA = {"_id", "_index", "_type", "_source", "_version", "_routing", "_seq_no", "_primary_term", "_ignored"}
_DATA_STREAM = re.compile(r"(logs)-([^A-Z\\/*?\"<>|,#: -]+)-([^A-Z\\/*?\"<>|,#: -]+)")


def _error(status: int, kind: str, reason: str) -> Answer:
    cause = {"type": kind, "reason": reason}
    return Answer.json({"error": {"root_cause": [cause], **cause}, "status": status}, status)


class Elasticsearch(StandIn):
    type = "elasticsearch"
    is_idempotent = True

    def __init__(self, secret: str = SECRET, *, opensearch: bool = False, form: str = "original") -> None:
        super().__init__(secret)
        self.form = form
        self.opensearch = opensearch
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        """By data stream and `_id`, in the order of their creation."""
        self.verdict: Callable[[bytes], Verdict | None] = lambda _: None
        """What else is wrong with a document."""
        self.may_monitor = True
        self.pipelines = {"my-pipeline"}

    def settings(self, **options: Any) -> dict[str, Any]:
        credential = (
            {"username": "writer", "password": self.secret} if self.opensearch else {"api_key": f"id:{self.secret}"}
        )
        form = {"format": self.form, "preserve_original_event": self.form == "ecs"}
        return {"type": "elasticsearch", "url": self.base_url, **form, **credential, **options}

    def wrong_credential(self) -> dict[str, Any]:
        return {"password" if self.opensearch else "api_key": f"id:x{self.secret}"}

    def secrets(self) -> list[str]:
        name = "writer" if self.opensearch else "id"
        return [self.secret, base64.b64encode(f"{name}:{self.secret}".encode()).decode()]

    def events(self) -> list[bytes]:
        documents = self.documents.values()
        return [(each["message"] if "message" in each else each["event"]["original"]).encode() for each in documents]

    def answer(self, call: Call) -> Answer:
        given, _, text = call.headers.get("Authorization", "").partition(" ")
        expected = ("Basic", f"writer:{self.secret}") if self.opensearch else ("ApiKey", f"id:{self.secret}")
        if (given, text) != (expected[0], base64.b64encode(expected[1].encode()).decode()):
            return _error(401, "security_exception", f"unable to authenticate with provided credentials {text}")
        if call.path == "/" and call.method in {"GET", "HEAD"}:
            return self._root()
        if call.path.startswith("/_ingest/pipeline/"):
            known = call.path.rpartition("/")[2] in self.pipelines
            return Answer.json({}, 200 if known else 404) if self.may_monitor else _error(403, "security_exception", "")
        if call.path != "/_bulk" or call.method not in {"POST", "PUT"}:
            return _error(404, "invalid_index_name_exception", f"no handler for {call.path}")
        if call.headers.get("Content-Type", "").partition(";")[0] not in {"application/x-ndjson", "application/json"}:
            return Answer.json({"error": "Content-Type header is not supported", "status": 406}, 406)
        try:
            text_ = text_of(call)
        except BadBody:
            return _error(400, "i_o_exception", "Not in GZIP format")
        if self.largest is not None and len(text_) > self.largest:
            return Answer(413)
        return self._bulk(call, text_)

    def _root(self) -> Answer:
        if not self.may_monitor:
            return _error(403, "security_exception", "action [cluster:monitor/main] is unauthorized for API key")
        version = {"number": "2.17.0", "distribution": "opensearch"} if self.opensearch else {"number": "8.15.0"}
        return Answer.json({"name": "node-1", "cluster_name": "test", "version": version})

    def _bulk(self, call: Call, text: bytes) -> Answer:
        if not text:
            return _error(400, "parse_exception", "request body is required")
        if not text.endswith(b"\n"):
            return _error(400, "illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
        lines = text.split(b"\n")[:-1]
        if len(lines) % 2:
            return _error(400, "illegal_argument_exception", "Malformed action/metadata line")
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            try:
                ((operation, target),) = orjson.loads(action).items()
            except ValueError:
                return _error(
                    400, "illegal_argument_exception", "Malformed action/metadata line, expected START_OBJECT"
                )
            items.append({operation: self._item(operation, target, document, call.query.get("pipeline", "_none"))})
        errors = any(item["status"] >= 300 for each in items for item in each.values())
        if "filter_path" in call.query:
            items = [
                {key: {name: item[name] for name in ("status", "error") if name in item}}
                for each in items
                for key, item in each.items()
            ]
            assert call.query["filter_path"] == "items.*.status,items.*.error"
            return Answer.json({"items": items})
        return Answer.json({"took": 3, "errors": errors, "items": items})

    def _item(self, operation: str, target: dict[str, Any], text: bytes, pipeline: str) -> dict[str, Any]:
        if pipeline not in {"_none", *self.pipelines}:
            reason = f"pipeline with id [{pipeline}] does not exist"
            return {"status": 400, "error": {"type": "illegal_argument_exception", "reason": reason}}
        index, id_ = target["_index"], target["_id"]
        named = {"_index": f".ds-{index}-000001", "_id": id_}
        status, kind, reason = self._judge(operation, index, id_, text) or (201, "", "")
        if status == 201:
            self.documents[index, id_] = orjson.loads(text)
            return {**named, "_version": 1, "result": "created", "status": 201}
        return {**named, "status": status, "error": {"type": kind, "reason": reason}}

    def _judge(self, operation: str, index: str, id_: str, text: bytes) -> Verdict | None:
        name = _DATA_STREAM.fullmatch(index)
        if name is None:
            return (
                404,
                "index_not_found_exception",
                f"no such index [{index}] and [action.auto_create_index] forbids it",
            )
        if operation != "create":
            return 400, "illegal_argument_exception", "only write ops with an op_type of create are allowed"
        if not 0 < len(id_.encode()) <= 512:
            return 400, "illegal_argument_exception", "id is too long, must be no longer than 512 bytes"
        if (index, id_) in self.documents:
            return 409, "version_conflict_engine_exception", f"[{id_}]: version conflict, document already exists"
        return self.verdict(text) or self._parse(text, name.groups())

    def _parse(self, text: bytes, name: tuple[str, ...]) -> Verdict | None:
        parsing = "document_parsing_exception"
        try:
            document = orjson.loads(text)
        except ValueError:
            return 400, parsing, "failed to parse"
        if self.poison and self.poison in text:
            return 400, parsing, "[1:7] failed to parse field [x] of type [ip] in document"
        if inside := _METADATA & document.keys():
            return 400, parsing, f"Field [{min(inside)}] is a metadata field and cannot be added inside a document"
        try:
            datetime.fromisoformat(document["@timestamp"])
        except (KeyError, ValueError, TypeError):
            return 400, parsing, "data stream timestamp field [@timestamp] is missing"
        said = document.get("data_stream", {})
        if (said.get("type"), said.get("dataset"), said.get("namespace")) != name:
            return 400, parsing, "[constant_keyword] field [data_stream.dataset] only accepts values that are equal"
        return None
