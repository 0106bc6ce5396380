"""Okta's floor: the System Log, by its next links."""

import re

import msgspec

from tests.benchmark.floors.floor import Floor, run


class Head(msgspec.Struct, gc=False):
    uuid: str
    published: str
    eventType: str


RECORDS = msgspec.json.Decoder(list[msgspec.Raw])
HEADS = msgspec.json.Decoder(list[Head])
NEXT = re.compile(r'<([^>]+)>; rel="next"')


def split(page: bytes) -> tuple[list[msgspec.Raw], list[Head]]:
    heads = HEADS.decode(page)
    assert all(head.uuid for head in heads)
    return RECORDS.decode(page), heads


async def collect(floor: Floor, base_url: str, token: str) -> None:
    url = f"{base_url}/api/v1/logs?since=2026-01-01T00%3A00%3A00.000Z&limit={floor.page_size}"
    while True:
        page, headers = await floor.ask("GET", url, {"Authorization": f"SSWS {token}"})
        url = NEXT.findall(", ".join(headers.getall("Link")))[0]
        if not await floor.pass_on(page, split):
            return


if __name__ == "__main__":
    run(collect)
