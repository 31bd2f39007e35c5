"""The settings of Hypothesis for random runs."""

from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

CASES_PER_ROUND = 100
PROFILE = "fuzz-nightly"


def nightly_profile(database: Path | None) -> settings:
    """The settings, registered by name, because Hypothesis's own profile for CI would derandomise.

    database: the folder of its example database; None for none.
    """
    kept: ExampleDatabase | None = DirectoryBasedExampleDatabase(database) if database is not None else None
    settings.register_profile(
        PROFILE,
        settings(
            max_examples=CASES_PER_ROUND,
            database=kept,
            derandomize=False,
            deadline=None,
            phases=(Phase.reuse, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
            verbosity=Verbosity.quiet,
        ),
    )
    return settings.get_profile(PROFILE)
