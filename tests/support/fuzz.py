"""How many cases are tried, and files with something wrong in them."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# `FUZZ_TIMES=200 pytest tests/fuzz` tries 200 times as many, others each time.
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def cases(count):
    """So many in a test run, always the same ones."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw, contents, numbers=True):
    """One of some contents with a few bytes changed, left out or put in, and at times cut."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)) | st.integers(0, 64))
        how = draw(st.sampled_from(["set", "insert", "delete", "number"]))
        if how == "set" and place < len(content):
            content[place] = draw(st.integers(0, 255))
        elif how == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif how == "delete":
            del content[place : place + draw(st.integers(1, 8))]
        elif numbers:
            number = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF]))
            order = draw(st.sampled_from(["little", "big"]))
            content[place : place + 4] = number.to_bytes(4, order)
    if draw(st.integers(0, 3)) == 0:
        del content[draw(st.integers(0, len(content))) :]
    return bytes(content)
