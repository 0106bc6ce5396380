"""What the tests of sinks share."""

import pytest

from collectord.client import open_session


@pytest.fixture
async def session():
    async with open_session() as opened:
        yield opened
