"""Netskope's floor: the export of alerts, by an iterator from a day ago on."""

import time
import uuid

import msgspec

from tests.benchmark.floors.floor import Floor, run


class Head(msgspec.Struct, gc=False):
    timestamp: int
    id: str = msgspec.field(name="_id")


class Records(msgspec.Struct, gc=False):
    ok: int
    wait_time: int
    timestamp_hwm: int
    result: list[msgspec.Raw]


class Heads(msgspec.Struct, gc=False):
    result: list[Head]


RECORDS = msgspec.json.Decoder(Records)
HEADS = msgspec.json.Decoder(Heads)


def split(page: bytes) -> tuple[list[msgspec.Raw], int]:
    read = RECORDS.decode(page)
    assert read.ok == 1
    assert all(head.id for head in HEADS.decode(page).result)
    return read.result, len(read.result)


async def collect(floor: Floor, base_url: str, token: str) -> None:
    url = f"{base_url}/api/v2/events/dataexport/events/alert?index=floor-{uuid.uuid4().hex[:12]}&operation="
    operation = f"{time.time() - 86_400:.0f}"
    while True:
        page, _ = await floor.ask("GET", f"{url}{operation}", {"Netskope-Api-Token": token})
        if not await floor.pass_on(page, split):
            return
        operation = "next"


if __name__ == "__main__":
    run(collect)
