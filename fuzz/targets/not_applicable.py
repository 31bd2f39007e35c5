"""The way in which an adapter says that its kernel does not take a call."""


class NotApplicable(Exception):
    """Raised or returned by an adapter whose kernel does not take a call, or cannot run here: the case is Undefined.

    For what no `msa_ref.profile.Profile` has a word for. `Target.bind`, and what that returns, may do so as well.
    """

    def __init__(self, reason: str) -> None:
        """reason: a sentence for the report."""
        super().__init__(reason)
