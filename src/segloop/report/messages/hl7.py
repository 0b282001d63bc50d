"""HL7 version 2 as text: escaping, segments and fields, written and read. Nothing here knows what a message is about.

Written is what cannot be misread: UTF-8, carriage return behind every segment, and every character that means something
to HL7 or to its framing (separators, the escape character, all control characters) escaped. Read is what others send,
with their own separators and character sets.

Source: HL7 version 2.5.1, chapter 2, sections 2.5 to 2.7 and 2.14.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from segloop.errors import InputError

_NAMED = {"|": "F", "^": "S", "&": "T", "~": "R", "\\": "E"}
_WRITTEN = str.maketrans(
    {mark: f"\\{name}\\" for mark, name in _NAMED.items()} | {chr(n): f"\\X{n:02X}\\" for n in (*range(32), 127)}
)
_CHARSETS = {"": "utf-8", "ASCII": "ascii", "UNICODE UTF-8": "utf-8", "UNICODE": "utf-8", "GB 18030-2000": "gb18030"}


def escape(text: str) -> str:
    r"""Text as it stands in a field, so that `unescape` gives it back whatever it holds.

    >>> escape("5|3\n")
    '5\\F\\3\\X0A\\'
    """
    return text.translate(_WRITTEN)


def field(*components: str) -> str:
    """Components, each escaped, as one field; empty ones at the end are left out."""
    return "^".join(escape(part) for part in components).rstrip("^")


def segment(name: str, *fields: tuple[int, str]) -> str:
    """A segment from the numbers of its fields and their encoded values (see `field`); empty ones at the end left out.

    The fields of MSH begin with MSH-3; the separators before it are ours.
    """
    values = [""] * (max(number for number, _ in fields) + 1)
    for number, value in fields:
        values[number] = value
    kept = ["MSH", "^~\\&", *values[3:]] if name == "MSH" else [name, *values[1:]]
    return "|".join(kept).rstrip("|")


def message(*segments: str) -> bytes:
    """Segments, of which the first is MSH, as a message in UTF-8."""
    return "".join(f"{line}\r" for line in segments).encode()


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a message that was read. Fields, repetitions and components count from 1, as in the standard.

    Args:
        text: The segment as it stands.
        marks: MSH-1 and MSH-2: separators of fields, components, repetitions, the escape character, subcomponents.
    """

    text: str
    marks: str

    @property
    def name(self) -> str:
        """Its three letters: `MSH`, `PID`."""
        return self.text[:3]

    def raw(self, number: int) -> str:
        """A field with all its separators and escapes; empty where it is absent."""
        parts = self.text.split(self.marks[0])
        if self.name == "MSH":
            parts.insert(1, self.marks[0])
        return parts[number] if number < len(parts) else ""

    def get(self, number: int, component: int = 1, repetition: int = 1) -> str:
        """A component's text (its first subcomponent), escapes resolved; empty where it is absent."""
        repeated = self.raw(number).split(self.marks[2])
        parts = repeated[repetition - 1].split(self.marks[1]) if repetition <= len(repeated) else []
        text = parts[component - 1] if component <= len(parts) else ""
        return self._unescaped(text.split(self.marks[4])[0])

    def repetitions(self, number: int) -> int:
        """How often a field is repeated; 0 where it is absent or empty."""
        value = self.raw(number)
        return value.count(self.marks[2]) + 1 if value else 0

    def _unescaped(self, text: str) -> str:
        mark = re.escape(self.marks[3])
        meant = dict(zip("FSRET", self.marks, strict=True))

        def resolve(found: re.Match[str]) -> str:
            code = found[1]
            if code in meant:
                return meant[code]
            if code == ".br":
                return "\n"
            return bytes.fromhex(code[1:]).decode("utf-8", "replace")

        return re.sub(rf"{mark}([FSRTE]|\.br|X(?:[0-9A-Fa-f]{{2}})+){mark}", resolve, text)


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read."""

    segments: tuple[Segment, ...]

    @property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.header.get(10)

    def all(self, name: str) -> tuple[Segment, ...]:
        """The segments of a name, in order."""
        return tuple(one for one in self.segments if one.name == name)

    def first(self, name: str) -> Segment:
        """The first segment of a name; one without fields where there is none."""
        return next(iter(self.all(name)), Segment(name, self.header.marks))


def parse(content: bytes) -> Message:
    """A message as its segments.

    Args:
        content: Without the frame of MLLP. Segments end with CR; LF and CR LF are understood as well.

    Raises:
        InputError: It is no HL7 message, or its character set is unknown. The text names no content.
    """
    if not re.match(rb"MSH[^\w\s][^\w\s]{4}", content):
        raise InputError(
            f"{len(content)} bytes were received that are no HL7 version 2 message.",
            expected="MSH and five different separators, as in MSH|^~\\&",
        )
    marks = content[3:8].decode("latin-1")
    if len(set(marks)) != 5:
        raise InputError("The separators of an HL7 message are not five different characters.")
    first = re.split(rb"[\r\n]", content, maxsplit=1)[0].split(content[3:4])
    text = _decoded(content, first[17] if len(first) > 17 else b"", marks[2])
    lines = [line for line in re.split(r"[\r\n]+", text) if line]
    return Message(tuple(Segment(line, marks) for line in lines))


def _decoded(content: bytes, charset: bytes, repetition: str) -> str:
    named = charset.decode("latin-1").split(repetition)[0].strip()
    name = _CHARSETS.get(named, f"iso{named}".replace("/", "-") if named.startswith("8859/") else "")
    try:
        codecs.lookup(name)
        return content.decode(name)
    except LookupError as fault:
        raise InputError("The character set that an HL7 message names in MSH-18 is not known.") from fault
    except UnicodeDecodeError as fault:
        if not named:
            return content.decode("latin-1")
        raise InputError("An HL7 message is not written in the character set that it names in MSH-18.") from fault
