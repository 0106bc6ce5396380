"""SailPoint's floor: one search for the events of a day, which goes on behind the last row of each page."""

import time
from urllib.parse import urlencode

import msgspec

from tests.benchmark.floors.floor import Floor, run

SECRET = "benchmark"


class Head(msgspec.Struct, gc=False):
    id: str
    created: str
    technicalName: str


RECORDS = msgspec.json.Decoder(list[msgspec.Raw])
HEADS = msgspec.json.Decoder(list[Head])
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def split(page: bytes) -> tuple[list[msgspec.Raw], list[Head]]:
    heads = HEADS.decode(page)
    assert all(head.id for head in heads)
    return RECORDS.decode(page), heads


def search(after: list[str]) -> bytes:
    lower, upper = (time.strftime("%FT%T.000Z", time.gmtime(time.time() - ago)) for ago in (86_400, 0))
    created = {"lower": {"value": lower, "inclusive": True}, "upper": {"value": upper, "inclusive": False}}
    return msgspec.json.encode(
        {
            "indices": ["events"],
            "queryType": "SAILPOINT",
            "query": {"query": "*"},
            "filters": {"created": {"type": "RANGE", "range": created}},
            "sort": ["created", "id"],
            **({"searchAfter": after} if after else {}),
        }
    )


async def collect(floor: Floor, base_url: str, token: str) -> None:
    """`token` is the client's id."""
    form = urlencode({"grant_type": "client_credentials", "client_id": token, "client_secret": SECRET}).encode()
    answer, _ = await floor.ask("POST", f"{base_url}/oauth/token", FORM, form)
    headers = {"Authorization": f"Bearer {msgspec.json.decode(answer)['access_token']}", **JSON}
    url = f"{base_url}/v3/search?limit={floor.page_size}&count=false"
    after: list[str] = []
    while True:
        page, _ = await floor.ask("POST", url, headers, search(after))
        heads = await floor.pass_on(page, split)
        if len(heads) < floor.page_size:
            return
        after = [heads[-1].created, heads[-1].id]


if __name__ == "__main__":
    run(collect)
