"""What the contract offers to vendors."""

import threading

import pytest

from collectord.source import read_page


@pytest.mark.parametrize(("size", "elsewhere"), [(2**20, False), (20 * 2**20, True)])
async def test_a_large_page_is_read_in_a_thread(size, elsewhere):
    def read(first, second):
        return (first, second), threading.current_thread() is not threading.main_thread()

    assert await read_page(b" " * size, read, 1, 2) == ((1, 2), elsewhere)


@pytest.mark.parametrize("size", [1, 20 * 2**20])
async def test_what_is_wrong_with_a_page_is_raised(size):
    def read():
        raise ValueError("no page")

    with pytest.raises(ValueError, match="no page"):
        await read_page(b" " * size, read)
