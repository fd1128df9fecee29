"""What can go wrong in releasing and serving, with the exit code each deserves."""

from __future__ import annotations

from components.store.errors import OrreryError


class ServerUnavailable(OrreryError):
    """The inference server is missing, did not become ready, or does not answer."""

    exit_code = 3


class GateRefused(OrreryError):
    """The gate refused this policy; it can't be published."""


class RequestRefused(OrreryError):
    """The served policy refused a request; the message is the server's."""


class ServedDiffers(OrreryError):
    """The served policy is not the one that was evaluated."""
