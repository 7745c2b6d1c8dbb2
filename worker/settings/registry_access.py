"""How a schema registry knows us: a password or a token, and a certificate."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Files that are read again for every call, so that what is rotated is used; each may be None.

    auth_file           `user:password`, or `Bearer TOKEN`
    certificate_file    our certificate and those that signed it, PEM
    key_file            its private key, PEM; None: it is in `certificate_file`
    """

    auth_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


ANONYMOUS = RegistryAccess()
