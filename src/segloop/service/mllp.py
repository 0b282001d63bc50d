"""HL7 messages over TCP: one message out, one acknowledgement back, and nothing taken for one that is none.

Source: HL7 Minimal Lower Layer Protocol, version 1 (a message stands between VT and FS CR); HL7 version 2.5.1, 2.9
(acknowledgements, in original mode AA, AE, AR and in enhanced mode CA, CE, CR).
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

from segloop.errors import InputError, ServiceError
from segloop.plan import Frozen
from segloop.report.messages.hl7 import Message, parse

START, END = b"\x0b", b"\x1c\r"
LONGEST_ANSWER = 1 << 20
_TAKEN = frozenset({"AA", "CA"})
_REFUSED = frozenset({"AE", "AR", "CE", "CR"})


class Line(Frozen):
    """Where messages are sent.

    Attributes:
        host: Name or address; the certificate must be for it.
        port: TCP port.
        timeout_seconds: Longest wait for the connection, and for the whole acknowledgement.
    """

    host: str
    port: int
    timeout_seconds: float = 60.0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def framed(message: bytes) -> bytes:
    """A message as it crosses the line."""
    return START + message + END


def send_message(message: bytes, line: Line, context: ssl.SSLContext | None = None) -> None:
    """Send a message, and return once the receiver has acknowledged this very one as accepted.

    Args:
        message: HL7 version 2, without frame.
        line: Where to.
        context: TLS with a check of the certificate; None speaks plaintext.

    Raises:
        ServiceError: `peer.unavailable`: no connection, no acknowledgement in time, or half of one. `peer.untrusted`:
            the certificate. `peer.refused`: AE, AR, CE or CR. `peer.garbled`: the answer is no acknowledgement, or one
            of another message. In each case the message may have been taken, so only the same message may follow.
    """
    control_id = parse(message).control_id
    try:
        answer = _exchange(message, line, context)
    except ssl.SSLCertVerificationError as fault:
        raise ServiceError(
            f"The certificate of {line} is not to be trusted: {fault.verify_message}.",
            code="peer.untrusted",
            hint="Set ca to the authority that signed it, and host to the name that it is for.",
        ) from fault
    except TimeoutError as fault:
        raise ServiceError(f"{line} gave no acknowledgement within {line.timeout_seconds:g} s.") from fault
    except OSError as fault:
        raise ServiceError(
            f"{line} cannot be reached ({type(fault).__name__}).", hint="Check address, port and that the peer runs."
        ) from fault
    _judge(_read(answer, line), control_id, line)


def _exchange(message: bytes, line: Line, context: ssl.SSLContext | None) -> bytes:
    """What came back, up to the end of its frame or of the connection."""
    end = time.monotonic() + line.timeout_seconds
    with socket.create_connection((line.host, line.port), timeout=line.timeout_seconds) as plain:
        talking = plain if context is None else context.wrap_socket(plain, server_hostname=line.host)
        with talking:
            talking.sendall(framed(message))
            received = b""
            while END not in received:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                talking.settimeout(left)
                part = talking.recv(65536)
                received += part
                if not part or len(received) > LONGEST_ANSWER:
                    break
            with suppress(OSError):
                talking.shutdown(socket.SHUT_RDWR)
            return received


def _read(answer: bytes, line: Line) -> Message:
    if not answer:
        raise ServiceError(f"{line} closed the connection without an acknowledgement.")
    if not answer.startswith(START):
        raise ServiceError(f"{line} answers with something that is no HL7 message.", code="peer.garbled")
    if END not in answer:
        raise ServiceError(f"{line} broke the connection off in the middle of its acknowledgement.")
    try:
        return parse(answer[1 : answer.index(END)])
    except InputError as fault:
        raise ServiceError(f"{line} answers with something that is no HL7 message.", code="peer.garbled") from fault


def _judge(answer: Message, control_id: str, line: Line) -> None:
    verdict = answer.first("MSA")
    code = verdict.get(1)
    if code not in _TAKEN | _REFUSED:
        raise ServiceError(f"{line} answers with a message that is no acknowledgement.", code="peer.garbled")
    if verdict.get(2) != control_id:
        raise ServiceError(f"{line} acknowledges another message than the one sent.", code="peer.garbled")
    if code in _REFUSED:
        # ERR-3 is a code of a table; the texts beside it may quote the patient.
        reason = answer.first("ERR").get(3)
        told = f" (error {reason})" if reason.isdigit() else ""
        raise ServiceError(
            f"{line} does not take the message: {code}{told}.",
            code="peer.refused",
            found=code,
            expected="AA",
            hint="The receiver's own log says why.",
        )
