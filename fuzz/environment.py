"""Where a run happened: `msa_fast.environment` has the one stamp that the whole project carries."""

from msa_fast.environment import architecture, stamp

__all__ = ["architecture", "stamp"]
