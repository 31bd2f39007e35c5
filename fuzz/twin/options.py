"""The choices of a twin. Imports nothing, so that names of targets can be read without Triton."""

from typing import Literal, get_args

ARCHITECTURES = ("sm_90", "sm_100", "sm_103", "sm_120")
"""The GPUs that the twin stands in for."""

Level = Literal["source", "compiled"]
"""`source`: TTGIR as the front end leaves it, which is what a kernel's author must get right for any release.
`compiled`: with the places, barriers and fences that this release adds to it."""

LEVELS: tuple[Level, ...] = get_args(Level)

Policy = Literal["late", "early", "random"]
"""When what is in flight is done: as late as possible, as early, or at random moments."""
POLICIES: tuple[Policy, ...] = get_args(Policy)
