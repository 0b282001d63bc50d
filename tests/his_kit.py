"""A hospital's side of the line: an MLLP server and a web server that answer as told, and steps that write messages.

Behaviours of `His`, one per message in the order given, the last one for all further messages: `AA`, `CA`, `AE`, `AR`,
`nothing` (reads, never answers), `close` (reads, closes), `garbage`, `half` (half an acknowledgement, then closes),
`midway` (closes in the middle of the message), `other` (acknowledges another message).
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import service_kit as kit
from segloop.io import dicom
from segloop.measure import Measurement, Quantity
from segloop.plan import LabelSpec
from segloop.report import Findings, ModelStamp
from segloop.report.messages import fhir_bundle, oru_r01
from segloop.report.messages.hl7 import parse
from segloop.study import SelectionRecord, StudyTask, read_record, write_record
from segloop.workflow import RESULT, Step, StudyResult, select

PDF = b"%PDF-1.7 " + bytes(range(256))


def certificate(openssl: Path, folder: Path, name: str) -> Path:
    """A key and a certificate for a name, in one PEM file."""
    path = folder / f"{name}.pem"
    made = [folder / f"{name}.key", folder / f"{name}.crt"]
    who = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *who]
    subprocess.run([*command, "-keyout", made[0], "-out", made[1]], check=True, capture_output=True)
    path.write_bytes(b"".join(one.read_bytes() for one in made))
    return path


class His:
    """An MLLP server on a free port.

    Attributes:
        received: Every whole message, in order.
        taken: Messages acknowledged as accepted, by MSH-10: what a receiver that knows MSH-10 has filed.
        heard: Called with each whole message before it is answered.
        answered: Called behind each answer.
        most_at_once: Most connections that were open at the same time.
    """

    def __init__(self, *behaviours: str, context: ssl.SSLContext | None = None) -> None:
        self.behaviours, self._context = list(behaviours) or ["AA"], context
        self.received: list[bytes] = []
        self.taken: dict[str, bytes] = {}
        self.heard: Callable[[], None] = lambda: None
        self.answered: Callable[[], None] = lambda: None
        self.most_at_once = self._open = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._over = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        with self._lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            talking = plain if self._context is None else self._context.wrap_socket(plain, server_side=True)
            with talking:
                self._answer(talking)
        except (OSError, ValueError):
            plain.close()
        finally:
            with self._lock:
                self._open -= 1

    def _answer(self, talking: socket.socket) -> None:
        with self._lock:
            behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        content = b""
        while not content.endswith(b"\x1c\r"):
            part = talking.recv(64 if behaviour == "midway" else 4096)
            if not part or (behaviour == "midway" and content):
                return
            content += part
        message = content[1:-2]
        self.received.append(message)
        self.heard()
        control = parse(message).control_id
        answer = b"MSH|^~\\&|HIS|H|SEGLOOP|SEGLOOP|20260101||ACK^R01^ACK|9|P|2.5.1\r"
        if behaviour in ("AE", "AR"):
            answer += f"MSA|{behaviour}|{control}\rERR||PID^1^3|204^Unknown Zyxplanted^HL70357|E\r".encode()
        else:
            answer += f"MSA|{'CA' if behaviour == 'CA' else 'AA'}|{'X' if behaviour == 'other' else control}\r".encode()
        framed = b"\x0b" + answer + b"\x1c\r"
        if behaviour == "nothing":
            talking.recv(1)  # until the other side gives up
            return
        if behaviour in ("AA", "CA"):
            self.taken[control] = message
        sent = {"close": b"", "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n", "half": framed[: len(framed) // 2]}
        talking.sendall(sent.get(behaviour, framed))
        self.answered()


class Web:
    """A web server on a free port, which answers as `reply` says: path, headers, body to status and body."""

    def __init__(self, reply: Callable[[str, dict[str, str], bytes], tuple[int, bytes]]) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                requests.append((self.path, headers, body))
                status, answer = reply(self.path, headers, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class FhirServer(Web):
    """Takes transactions: creates what `ifNoneExist` does not find, replaces what `PUT` names.

    Attributes:
        created: What a HIS would show.
    """

    def __init__(self, *states: int) -> None:
        self.states = list(states) or [200]
        self.created: dict[str, dict] = {}
        super().__init__(self._transact)

    def _transact(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if status != 200:
            return status, b"{}"
        answers = []
        for entry in json.loads(body)["entry"]:
            kind, request = entry["resource"]["resourceType"], entry["request"]
            replaces = request["method"] == "PUT"
            search = request["url"] if replaces else f"{kind}?{request['ifNoneExist']}"
            found = search in self.created
            if replaces or not found:
                self.created[search] = entry["resource"]
            answers.append({"response": {"status": "200 OK" if found else "201 Created"}})
        document = {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}
        return 200, json.dumps(document).encode()

    def statuses(self, kind: str) -> list[str]:
        """The status of a kind of resource in each transaction, in order."""
        entries = [entry["resource"] for _, _, body in self.requests for entry in json.loads(body)["entry"]]
        return [resource["status"] for resource in entries if resource["resourceType"] == kind]


def objects_and_messages(task: StudyTask) -> None:
    """Write what `service_kit.objects` does, and the messages as the real step writes them."""
    kit.objects(task)
    record = read_record(SelectionRecord, task.out / "selection.json")
    result = read_record(StudyResult, task.out / RESULT)
    findings = Findings(
        model=ModelStamp(name="paper", version="1.0", digest="sha256:" + "ab" * 32),
        labels=(LabelSpec(value=1, name="one"),),
        present=(1,),
        measurements=(Measurement(label=1, name="one", quantity=Quantity.VOLUME, value=1.25, unit="ml"),),
        created=datetime(2026, 11, 22, tzinfo=UTC),
    )
    with dicom.opened(task.source, record.files) as found:
        (series,) = dicom.scan_files(found)
        (task.out / "oru.hl7").write_bytes(oru_r01(findings, series, PDF, record.key))
        (task.out / "fhir.json").write_bytes(fhir_bundle(findings, series, PDF, record.key))
    files = {**result.files, "oru": "oru.hl7", "fhir": "fhir.json"}
    write_record(result.model_copy(update={"files": files}), task.out / RESULT)


def about_another(task: StudyTask) -> None:
    """Write messages of another patient."""
    objects_and_messages(task)
    path = task.out / "oru.hl7"
    path.write_bytes(path.read_bytes().replace(kit.PATIENT_ID.encode(), b"SOMEBODY-ELSE"))


STEPS = (Step("select", select), Step("objects", objects_and_messages))
ANOTHER = (Step("select", select), Step("objects", about_another))
