"""SentinelOne's floor: the threats by their last change, from cursor to cursor."""

import msgspec

from tests.benchmark.floors.floor import Floor, run


class Info(msgspec.Struct, gc=False):
    updatedAt: str


class Head(msgspec.Struct, gc=False):
    id: str
    threatInfo: Info


class Pagination(msgspec.Struct, gc=False):
    nextCursor: str | None


class Records(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]
    pagination: Pagination


class Heads(msgspec.Struct, gc=False):
    data: list[Head]


RECORDS = msgspec.json.Decoder(Records)
HEADS = msgspec.json.Decoder(Heads)


def split(page: bytes) -> tuple[list[msgspec.Raw], str | None]:
    read = RECORDS.decode(page)
    assert all(head.id and head.threatInfo.updatedAt for head in HEADS.decode(page).data)
    return read.data, read.pagination.nextCursor


async def collect(floor: Floor, base_url: str, token: str) -> None:
    query = f"sortBy=updatedAt&sortOrder=asc&limit={floor.page_size}&skipCount=true"
    first = f"{base_url}/web/api/v2.1/threats?{query}&updatedAt__gte=2026-01-01T00%3A00%3A00.000000Z"
    url: str | None = first
    while url:
        page, _ = await floor.ask("GET", url, {"Authorization": f"ApiToken {token}"})
        following = await floor.pass_on(page, split)
        url = following and f"{first}&cursor={following}"


if __name__ == "__main__":
    run(collect)
