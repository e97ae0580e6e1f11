"""What Kafka or Redis does not allow: told as such, once, instead of being tried again for ever."""

from __future__ import annotations

from typing import Final

import redis
from confluent_kafka import KafkaError, KafkaException
from redis.exceptions import AuthenticationError, NoPermissionError

from schemas.errors import AccessDenied

_DENIED: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


def refusal(error: Exception) -> str | None:
    """What to say if ``error`` means that this user may not; else None."""
    if isinstance(error, redis.RedisError) and _refused(error):
        return f"Redis refuses: {error}; `touchstream acls redis` prints what each user needs"
    if isinstance(error, KafkaException) and denied(error.args[0]):
        return f"Kafka refuses: {error.args[0].str()}; `touchstream acls kafka` prints what each user needs"
    return None


def raise_if_denied(error: Exception) -> None:
    """Raises `AccessDenied` if ``error`` means that this user may not."""
    if told := refusal(error):
        raise AccessDenied(told) from error


def denied(error: KafkaError) -> bool:
    """Whether ``error`` says that this user may not."""
    return error.code() in _DENIED


def _refused(error: redis.RedisError) -> bool:
    # What a script may not do is told as an ordinary error.
    return isinstance(error, AuthenticationError | NoPermissionError) or "ACL failure in script" in str(error)


class Complaints:
    """The ``error_cb`` of a client: what stands in its way, which calls that give up waiting do not tell."""

    def __init__(self) -> None:
        self._heard: list[KafkaError] = []

    def __call__(self, error: KafkaError) -> None:
        if denied(error) or error.code() == KafkaError._SSL:
            self._heard.append(error)

    def instead_of(self, error: KafkaException) -> KafkaException:
        """What was complained of, or ``error`` if nothing was."""
        return KafkaException(self._heard[-1]) if self._heard else error
