"""The way in which the harness's own part of a target says that a law is broken where the judge cannot look."""


class BrokenLaw(Exception):
    """Raised around a target's code: one of `fuzz.judge.run_laws` is broken."""

    def __init__(self, law: str, evidence: str) -> None:
        """law: its name. evidence: a sentence for the report."""
        super().__init__(evidence)
        self.law = law
