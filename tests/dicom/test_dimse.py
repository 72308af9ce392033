"""Command sets as bytes, compared with what pynetdicom makes of the same messages."""

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from sender.dicom import dimse

CT = "1.2.840.10008.5.1.4.1.1.2"
MESSAGES = [
    (1, CT, "1.2.3"),
    (65535, CT, "1.2.34"),
    (258, "1.2.840.10008.5.1.4.1.1.4", "2." + "9" * 62),
]


def primitive(message_id: int, sop_class: str, sop_instance: str) -> C_STORE:
    message = C_STORE()
    message.AffectedSOPClassUID = sop_class
    message.AffectedSOPInstanceUID = sop_instance
    return message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: str(m[0]))
def test_the_request_is_the_one_that_pynetdicom_makes(message: tuple[int, str, str]) -> None:
    asked = primitive(*message)
    asked.MessageID = message[0]
    asked.Priority = 0
    asked.DataSet = BytesIO(b"\0\0")
    made = C_STORE_RQ()
    made.primitive_to_message(asked)
    assert dimse.store_messages(*message)[0] == encode(made.command_set, True, True)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: str(m[0]))
def test_the_usual_answer_is_the_one_that_pynetdicom_gives(message: tuple[int, str, str]) -> None:
    answered = primitive(*message)
    answered.MessageIDBeingRespondedTo = message[0]
    answered.Status = 0x0000
    made = C_STORE_RSP()
    made.primitive_to_message(answered)
    usual = dimse.store_messages(*message)[1]
    assert usual == encode(made.command_set, True, True)
    expected = dimse.Expected(dimse.C_STORE_RSP, *message)
    assert dimse.read_response(usual, expected) == dimse.Response(0x0000)
