"""What a server does not allow ends a process; what passes by itself does not."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException
from redis.exceptions import AuthenticationError, BusyLoadingError, ConnectionError, NoPermissionError, ResponseError

from operators.access import Complaints, raise_if_denied
from schemas.errors import AccessDenied


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("invalid username-password pair"),
        NoPermissionError("User ts-stitch has no permissions to run the 'mget' command"),
        ResponseError("ACL failure in script: User ts-stitch has no permissions to run the 'set' command"),
        KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)),
        KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)),
        KafkaException(KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)),
        KafkaException(KafkaError(KafkaError._AUTHENTICATION)),
    ],
    ids=str,
)
def test_a_refusal_is_told_as_one_with_what_to_do(error: Exception) -> None:
    with pytest.raises(AccessDenied, match=r"(Kafka|Redis) refuses: .*`touchstream acls (kafka|redis)`") as caught:
        raise_if_denied(error)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Connection refused"),
        BusyLoadingError("LOADING"),
        ResponseError("ERR Error running script"),
        KafkaException(KafkaError(KafkaError._TRANSPORT)),
        KafkaException(KafkaError(KafkaError._TIMED_OUT)),
    ],
    ids=str,
)
def test_an_outage_is_none(error: Exception) -> None:
    raise_if_denied(error)


def test_a_client_that_waits_in_vain_says_what_stood_in_its_way() -> None:
    complaints, timeout = Complaints(), KafkaException(KafkaError(KafkaError._TIMED_OUT))
    complaints(KafkaError(KafkaError._TRANSPORT))
    assert complaints.instead_of(timeout) is timeout
    complaints(KafkaError(KafkaError._AUTHENTICATION))
    assert complaints.instead_of(timeout).args[0].code() == KafkaError._AUTHENTICATION
