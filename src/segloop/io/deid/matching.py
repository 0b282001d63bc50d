"""Finds identities in text, whatever its case, width, accents and character set."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydicom.dataelem import DataElement, RawDataElement

from segloop.io.deid.elements import text_of

_ENCODINGS = (
    "utf-8", "utf-16-le", "utf-16-be", "latin-1", "gb18030", "big5", "shift_jis", "euc_jp", "iso2022_jp", "euc_kr",
    "iso8859_5", "koi8_r", "cp1251", "iso8859_6", "cp1256", "iso8859_7", "iso8859_8", "iso8859_9", "tis_620",
)  # fmt: skip
_ESCAPES = re.compile(rb"\x1b[\x20-\x2f]*[\x30-\x7e]")
_SHORT, _LONG = 3, 6
_SHORTEST_BYTES = 6
_SHORTEST_IN_BINARY = 4
_LARGEST_BINARY = 1 << 17
_SHORTEST_IN_PIXELS = 12
_BETWEEN_DIGITS = r"[\s\-./()]{0,2}"
_BETWEEN_WORDS = r"\s+"
_BETWEEN_PARTS = r"[\s^,._'\-]{0,3}"
_DATE = re.compile(r"[12]\d{7}")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})


@dataclass(frozen=True, slots=True)
class Matcher:
    """What finds a set of identities.

    Attributes:
        text: Matches in normalised text.
        plain: Matches in ASCII bytes.
        numbers: Long numbers, in digits.
        patterns: Byte strings, in lower case, to look for in what is no text.
        in_pixels: Those of them that are too long to arise by chance among pixels.
        in_binary: Shorter ones as well, for values of so few bytes that hardly any arises there by chance.
    """

    text: re.Pattern[str]
    plain: re.Pattern[bytes]
    numbers: frozenset[str]
    patterns: tuple[bytes, ...]
    in_pixels: tuple[bytes, ...]
    in_binary: tuple[bytes, ...]

    def found_in_binary(self, content: bytes) -> bool:
        """Whether a value that is no text holds an identity; short ones are looked for in 128 KiB at most."""
        patterns = self.in_binary if len(content) <= _LARGEST_BINARY else self.patterns
        return holds(content.lower(), patterns)

    def found_in(self, element: DataElement | RawDataElement, encodings: Sequence[str]) -> bool:
        """Whether a text element holds an identity."""
        value = element.value
        if isinstance(value, bytes) and value.isascii() and b"\x1b" not in value:
            return self.plain.search(value) is not None
        return self.text.search(normal(text_of(element, encodings))) is not None

    def without(self, text: str) -> str:
        """The text with all identities taken out, and the space they leave closed."""
        rest = self.text.sub(" ", text)
        if self.text.search(normal(rest)):
            rest = self.text.sub(" ", normal(rest))
        return re.sub(r"[ \t]{2,}", " ", rest).strip() if rest != text else text


@lru_cache(maxsize=8)
def matcher(
    words: frozenset[str],
    phrases: frozenset[str],
    names: frozenset[str],
    encodings: tuple[str, ...],
    *,
    dates_stay: bool = False,
) -> Matcher:
    """The matcher of these identities, all in lower case.

    Words of six letters and more are found inside others, shorter ones as whole words, and of two letters only beside
    another part of the same name: `Li` and `Ng` are parts of many words. A single Chinese character is found only as
    part of a full name. Where dates stay, the birth date is looked for in text only.
    """
    every = {form for word in words for form in _forms(word)}
    parts = [*(_word(w) for w in every if not _is_short(w)), *(_full(name) for name in names), *map(_phrase, phrases)]
    parts = sorted({part for part in parts if part}, key=len, reverse=True) or [r"(?!)"]
    pattern = "|".join(parts)
    ascii_parts = [part for part in parts if part.isascii()] or [r"(?!)"]
    numbers = {digits for p in phrases if len(digits := re.sub(r"[\s\-./()]", "", p)) >= _LONG and digits.isdigit()}
    spelt = {w for w in every if not _is_short(w)} | phrases | names
    if dates_stay:
        spelt = {text for text in spelt if not _DATE.fullmatch(text)}
    binary = {b for text in spelt for b in _spellings(text, encodings)}
    found = {b for b in binary if len(b) >= _SHORTEST_BYTES}
    in_pixels = {b for b in found if len(b) >= _SHORTEST_IN_PIXELS and b"\0" not in b}
    return Matcher(
        re.compile(pattern, re.IGNORECASE),
        re.compile("|".join(ascii_parts).encode(), re.IGNORECASE),
        frozenset(numbers),
        tuple(sorted(found)),
        tuple(sorted(in_pixels)),
        tuple(sorted(binary)),
    )


def holds(content: bytes, patterns: Iterable[bytes]) -> bool:
    """Whether one of the patterns stands in the bytes; one of digits only where no further digit is beside it."""
    return any(_at(content, pattern) for pattern in patterns)


def _at(content: bytes, pattern: bytes) -> bool:
    at = content.find(pattern)
    if not pattern[-1:].isdigit():
        return at >= 0
    while at >= 0:
        end = at + len(pattern)
        if not (content[at - 1 : at].isdigit() and pattern[:1].isdigit()) and not content[end : end + 1].isdigit():
            return True
        at = content.find(pattern, at + 1)
    return False


def normal(text: str) -> str:
    """Compatibility form, lower case: full-width letters and the like become the usual ones."""
    return unicodedata.normalize("NFKC", text).casefold()


def _is_short(word: str) -> bool:
    return len(word) < (2 if _is_ideographic(word) else _SHORT)


def _is_ideographic(text: str) -> bool:
    return any("\u2e80" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in text)


def _forms(word: str) -> set[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    forms = {word, normal(word), word.translate(_UMLAUTS)}
    return forms | {plain} if len(plain) >= _SHORT or plain == word else forms


def _word(word: str) -> str:
    escaped = re.escape(word)
    if _is_ideographic(word) or len(word) >= _LONG:
        return escaped
    # The letters of Latin are spelt out, so that the same pattern does for bytes
    return rf"(?<![a-z{_outer(word)}]){escaped}(?![a-z{_outer(word)}])"


def _outer(word: str) -> str:
    return "" if word.isascii() else r"\u0370-\u06ff"


def _full(name: str) -> str:
    """A full name, its parts apart by any separators."""
    parts = [re.escape(part) for part in re.split(r"[\s^,.'\-]+", name) if part]
    joined = _BETWEEN_PARTS.join(parts)
    if _is_ideographic(name) or not joined:
        return joined
    return rf"(?<![a-z]){joined}(?![a-z])"


def _phrase(phrase: str) -> str:
    digits = re.sub(r"[\s\-./()]", "", phrase)
    if digits.isdigit() and len(digits) >= _LONG:
        return rf"(?<!\d){_BETWEEN_DIGITS.join(digits)}(?!\d)"
    joined = _BETWEEN_WORDS.join(re.escape(part) for part in phrase.split())
    return rf"(?<![a-z0-9]){joined}(?![a-z0-9])" if joined else ""


def _spellings(text: str, encodings: Sequence[str]) -> set[bytes]:
    """The text's bytes in every character set that has it; letters of ASCII in lower case."""
    found = set[bytes]()
    forms = {text} if text.isascii() else {text, text.upper(), text.title()}
    for encoding in dict.fromkeys((*_ENCODINGS, *encodings)):
        for form in forms:
            try:
                content = _ESCAPES.sub(b"", form.encode(encoding))
            except (UnicodeError, LookupError):
                continue
            found.add(content.lower())
    return {b for b in found if len(b) >= _SHORTEST_IN_BINARY and any(byte > 0x20 for byte in b)}
