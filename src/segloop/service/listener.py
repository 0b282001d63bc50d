"""Takes HL7 messages over MLLP: each is handed on, and answered only once it has been dealt with."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable

from segloop.errors import InputError, ServiceError
from segloop.log import get_logger
from segloop.service.mllp import END, START, framed
from segloop.settings import OrderSettings

_log = get_logger(__name__)

LONGEST_MESSAGE = 1 << 20
MOST_CONNECTIONS = 20


class Listener:
    """A running listener; `port` is where it listens.

    Args:
        settings: Address, certificate.
        take: Deals with a message and returns the acknowledgement; raises InputError where nobody can be answered.

    Raises:
        ServiceError: `peer.unavailable`: the port is taken.
        InputError: `usage`: the certificate cannot be used.
    """

    def __init__(self, settings: OrderSettings, take: Callable[[bytes], bytes]) -> None:
        context = _context(settings)
        free = threading.BoundedSemaphore(MOST_CONNECTIONS)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if not free.acquire(blocking=False):
                    _log.warning("order connection refused")
                    return
                try:
                    _talk(self.request, context, settings.timeout_seconds, take)
                except (OSError, InputError) as fault:
                    _log.warning("order connection ended", error=type(fault).__name__)
                except Exception as fault:  # this sender gets no answer and sends again; the next is served
                    _log.error("order handling failed", error=type(fault).__name__)
                finally:
                    free.release()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            address_family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET

        try:
            self._server = Server((settings.host, settings.port or 0), Handler)
        except OSError as fault:
            raise ServiceError(
                f"Orders cannot be listened for on {settings.host}:{settings.port} ({fault.strerror}).",
                code="peer.unavailable",
                hint="Set orders.port to another port, or to 0 for a free one.",
            ) from fault
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="orders", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def _talk(
    plain: socket.socket, context: ssl.SSLContext | None, timeout_seconds: float, take: Callable[[bytes], bytes]
) -> None:
    plain.settimeout(timeout_seconds)
    received = b""
    with plain if context is None else context.wrap_socket(plain, server_side=True) as talking:
        while part := talking.recv(65536):
            received += part
            while END in received:
                content, _, received = received.partition(END)
                if START not in content:
                    raise InputError("A message stands in no frame of MLLP.")
                talking.sendall(framed(take(content.partition(START)[2])))
            if len(received) > LONGEST_MESSAGE:
                raise InputError(f"More than {LONGEST_MESSAGE} bytes were received without the end of a message.")


def _context(settings: OrderSettings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.certificate, settings.certificate_key)
        if settings.ca is not None:
            context.load_verify_locations(settings.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as fault:
        raise InputError(
            f"A certificate of [orders] cannot be used ({type(fault).__name__}).",
            code="usage",
            hint="Look at orders.certificate, orders.certificate_key and orders.ca in the settings.",
        ) from fault
    return context
