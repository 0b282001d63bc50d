"""One request to a web address, and its answer.

Nothing is followed elsewhere (no redirects, no proxy of the environment), and certificates are checked.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from segloop.errors import ServiceError
from segloop.plan import Frozen

LONGEST_ANSWER = 16 << 20


class Endpoint(Frozen):
    """Where something is posted to.

    Attributes:
        url: Address.
        timeout_seconds: Longest silence of the server.
    """

    url: str
    timeout_seconds: float = 60.0

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def post(
    target: Endpoint,
    content: bytes,
    headers: Mapping[str, str],
    context: ssl.SSLContext,
    longest: int = LONGEST_ANSWER,
) -> tuple[int, bytes]:
    """Status and body of the answer to a POST.

    Args:
        target: Address and patience.
        content: Body to send.
        headers: To send with it.
        context: For an `https` address.
        longest: Bytes of the answer that are read; what follows is left.

    Raises:
        ServiceError: `peer.unavailable` or `peer.untrusted`.
    """
    parts = urlsplit(target.url)
    host, timeout = parts.hostname or "", target.timeout_seconds
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=timeout)
    )
    try:
        connection.request("POST", parts.path or "/", body=content, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(longest)
    except ssl.SSLCertVerificationError as fault:
        raise ServiceError(
            f"The certificate of {target} is not to be trusted: {fault.verify_message}.",
            code="peer.untrusted",
            hint="Set ca (for a command: SSL_CERT_FILE) to the authority that signed it, and use the name it is for.",
        ) from fault
    except (OSError, http.client.HTTPException) as fault:
        raise ServiceError(
            f"{target} cannot be reached, or breaks off ({type(fault).__name__}).",
            hint="Check address and that the server runs.",
        ) from fault
    finally:
        connection.close()
