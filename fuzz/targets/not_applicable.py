"""The way in which an adapter says that its kernel does not take a call."""


class NotApplicable(Exception):
    """Raised by an adapter whose kernel does not take a call, or cannot run here: the case is Undefined, not broken."""
