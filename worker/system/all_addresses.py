"""The addresses that stand for all of a machine's, and what is done where it has no IPv6."""

import errno

ALL, ALL_IPV4 = "::", "0.0.0.0"  # noqa: S104 - names what a setting may say
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})  # by the kernel; by its settings


def instead(host: str, error: OSError) -> str | None:
    """Return the address to listen on in place of one that failed, None if there is none.

    >>> instead("::", OSError(errno.EAFNOSUPPORT, "")), instead("::1", OSError(errno.EAFNOSUPPORT, ""))
    ('0.0.0.0', None)
    """
    return ALL_IPV4 if host == ALL and error.errno in _NO_IPV6 else None
