"""What can go wrong with a store, as a person needs to hear it: what, where, and what to do."""

from __future__ import annotations


class OrreryError(Exception):
    """A problem that a user can mend. Its text is one clear message; `exit_code` is what `orrery` exits with.

    1: the work found a problem; 2: bad usage or configuration; 3: an engine (store, cluster) can't be reached.
    """

    exit_code = 1


class ConfigurationError(OrreryError):
    """Bad usage or a configuration that contradicts itself."""

    exit_code = 2


class StoreError(OrreryError):
    """The store refused or could not be reached."""

    exit_code = 3


class NotFound(StoreError):
    """No object at this key."""


class AlreadyExists(StoreError):
    """Create-if-absent found an object: somebody published first."""


class Conflict(StoreError):
    """Compare-and-swap lost: the object changed since it was read."""


class IntegrityError(StoreError):
    """The bytes do not have the hash that was promised."""
