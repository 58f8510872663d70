"""Random valid and broken inputs of every reader (``random_inputs``): nothing silently wrong, no traceback."""

import pytest
from random_inputs import KINDS, try_input

# 40 inputs: of each reader two that are valid and two broken ones, of the first two of them one more of each
INPUTS = [(kind, seed, broken) for seed in range(3) for kind in KINDS for broken in (False, True)][:40]


@pytest.mark.parametrize(("kind", "seed", "broken"), INPUTS)
def test_a_random_input_is_read_as_another_library_reads_it_or_refused(kind, seed, broken):
    damage, verdict, seen = try_input(kind, seed, broken=broken)
    assert verdict == "read" if not broken else verdict in ("read", "refused"), f"{damage}: {seen}"
