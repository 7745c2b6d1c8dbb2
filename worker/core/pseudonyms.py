"""Pseudonyms of user ids: the same id has the same one, and nobody without the key can tell whose it is.

>>> pseudonym(b"0123456789abcdef", "u-1842")
'p-34ed5f8d14650bded9e08ed901a5d396'
"""

import hmac
from hashlib import sha256

MIN_KEY_BYTES = 16
_DIGITS = 32  # hexadecimal: 128 bits, so that no two of a billion users share one


def pseudonym(key: bytes, user_id: str) -> str:
    """Return `p-` and 32 hexadecimal digits: HMAC-SHA-256 of the id, cut to 128 bits."""
    return "p-" + hmac.new(key, user_id.encode(), sha256).hexdigest()[:_DIGITS]
