"""The installed unit in its machine, with a vendor and a sink that live in the test's own process."""

import json
from dataclasses import dataclass
from typing import Any, cast

from anyio.from_thread import BlockingPortal

from collectord.demo.okta import OktaSimulator
from collectord.demo.oracle import Verdict, expect, judge
from collectord.demo.sink import NdjsonSink
from tests.daemon.machine import Machine, eventually

STATUS = ("/opt/collectord/bin/collectord", "status", "--json")


@dataclass
class Service:
    """The unit in a machine, its vendor and its sink outside of it."""

    machine: Machine
    portal: BlockingPortal
    okta: OktaSimulator
    sink: NdjsonSink

    def configure(self, text: str = "") -> None:
        """`collectord.yaml`, with `text` below it."""
        (self.machine.configuration / "collectord.yaml").write_text(f"""
            collector: {{name: soc-1}}
            sinks:
              default:
                type: http
                url: {self.sink.base_url}/ingest
                headers: {{Authorization: "Bearer ${{credential:collectord_sink_token}}"}}
                retry: {{initial: 100ms, max: 200ms}}
{text}""")

    def add_source(self, name: str) -> None:
        folder = self.machine.configuration / "sources.d"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(f"""
            source:
              schemaRef: {{type: Okta}}
              config: {{name: {name}, domain: acme.okta.com, apiKey: "${{credential:collectord_okta}}"}}
              collectord: {{base_url: "{self.okta.base_url}", start: 1h, intervals: {{events: 200ms}}}}
            """)

    def issue(self, count: int) -> None:
        self.portal.call(self.okta.issue, count)

    def verdict(self) -> Verdict:
        return self.portal.call(lambda: judge(expect("okta-prod", self.okta), self.sink.records))

    def delivers_everything(self) -> bool:
        eventually(lambda: self.verdict().ok)
        return self.verdict().ok and not self.sink.violations

    def posts_more_than(self, count: int) -> bool:
        return eventually(lambda: self.sink.counters["posts"] > count)

    def comes_back_after(self, pid: int) -> bool:
        """Whether systemd starts it again, as another process."""
        return eventually(
            lambda: self.machine.main_pid() not in {0, pid} and self.machine.show("ActiveState") == "active"
        )

    def status(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.machine.run(*STATUS)))

    def sources(self) -> set[str]:
        return {source["name"] for source in self.status()["sources"]}
