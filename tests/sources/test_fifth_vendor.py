"""The guide `Add a vendor` in collectord/README.md is true: whoever follows it has a vendor that conforms."""

import re
import textwrap
from pathlib import Path

import pytest

from tests.sources import acme, acme_simulator, test_every_source
from tests.sources.subjects import Subject

pytestmark = pytest.mark.looptime

ROOT = Path(__file__).parent.parent.parent

# What is true of every vendor is true of this one: pytest finds the suite's tests here again, with our subject.
globals().update({name: test for name, test in vars(test_every_source).items() if name.startswith("test_")})
del globals()["test_every_type_has_a_tenant_and_every_stream_of_it_is_collected"]


@pytest.fixture
def subject():
    return Subject(acme.SOURCE_TYPE, acme_simulator.tenant, "events")


def test_the_guides_code_is_the_code_that_conforms():
    guide = (ROOT / "collectord" / "README.md").read_text().partition("## Add a vendor")[2]
    blocks = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL)]
    assert len(blocks) == 2
    code = Path(acme.__file__).read_text()
    for block in blocks:
        assert block.strip() in code
