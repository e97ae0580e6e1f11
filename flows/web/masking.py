"""Values as those see them who need not know them: enough to tell one from another, too little to use one.

>>> mask("email", "zoe@example.com"), mask("phone", "+8613812345678"), mask("member", "M-20417")
('z***@e***.com', '138****5678', 'M***')
"""

from __future__ import annotations

from typing import Final

import phonenumbers

from operators.reasons import Check

#: Nothing is shown of what is shorter: one character would be a large part of it.
_SHORTEST: Final = 4
#: Of a phone number this many digits are shown before and after the masked ones, if it is at least so long.
_PHONE: Final = ((11, 3, 4), (9, 2, 3), (7, 1, 2))


def mask(namespace: str, value: str) -> str:
    """A personal value of a namespace, masked."""
    if namespace == "email":
        return _email(value)
    return _phone(value) if namespace == "phone" else _begun(value)


def mask_check(check: Check) -> Check:
    """A check without what it read of the customer: the conditions remain, the values go."""
    if check.step == "filter":
        return Check(check.step, check.passed, check.text.partition(" (with ")[0])
    if check.step == "start":
        return Check(check.step, check.passed, check.text.partition(";")[0].partition(":")[0])
    return check


def _begun(value: str) -> str:
    return f"{value[0]}***" if len(value) >= _SHORTEST else "***"


def _email(value: str) -> str:
    local, _, domain = value.rpartition("@")
    name, _, top = domain.rpartition(".")
    return f"{local[:1]}***@{name[:1]}***.{top}" if name else "***"


def _phone(value: str) -> str:
    try:
        digits = phonenumbers.national_significant_number(phonenumbers.parse(value))
    except phonenumbers.NumberParseException:
        digits = "".join([each for each in value if each.isdigit()])
    for length, before, after in _PHONE:
        if len(digits) >= length:
            return f"{digits[:before]}****{digits[-after:]}"
    return "****"
