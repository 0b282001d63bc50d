"""ImageNet weights for the encoders: found in Keras' cache, a file or behind a URL, checked, and put into a network."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import keras

from segloop.errors import InputError, ModelError
from segloop.nets.imagenet import NAME, application_of, copy_weights
from segloop.plan import Encoder

_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """A weights file without classifier as Keras offers it.

    Args:
        name: Of the file.
        folder: Where Keras fetches it from, with a slash at the end.
        digest: MD5 (32 hex digits) or SHA-256 (64) of the file.
    """

    name: str
    folder: str
    digest: str

    @property
    def algorithm(self) -> str:
        """`md5` or `sha256`."""
        return "sha256" if len(self.digest) == 64 else "md5"


OFFICIAL: dict[Encoder, OfficialFile] = {
    "resnet50": OfficialFile(
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", f"{_HOST}resnet/", "4d473c1dd8becc155b73f8504c6f6626"
    ),
    "efficientnetv2-b0": OfficialFile(
        "efficientnetv2-b0_notop.h5", f"{_HOST}efficientnet_v2/", "893217f2bb855e2983157299931e43ff"
    ),
    "efficientnetv2-s": OfficialFile(
        "efficientnetv2-s_notop.h5", f"{_HOST}efficientnet_v2/", "af0682fb74e8c54910f2d4393339c070"
    ),
    "convnext-tiny": OfficialFile(
        "convnext_tiny_notop.h5",
        f"{_HOST}convnext/",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
}
"""The file of each encoder; the digests are those that Keras itself checks."""


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """A weights file that is here.

    Args:
        path: Where it lies.
        digest: `sha256:…` of its bytes.
        imagenet: Its bytes are those of the official file.
    """

    path: Path
    digest: str
    imagenet: bool


def find_weights(official: OfficialFile, source: str, cache: Path | None = None) -> EncoderWeights:
    """The weights file that a person named, fetched where it is not here yet.

    Args:
        official: The encoder's file, from `OFFICIAL`.
        source: `imagenet` for the official file, from Keras' cache or else from Keras' host; a file's path; or a URL. A
            URL that ends in `/` is a mirror: the official file's name is added to it. A file of the official name is
            compared with the official digest, another one with the SHA-256 that the URL may end in (`#sha256=…`).
        cache: Folder that Keras caches in; `KERAS_HOME` or `~/.keras` if None.

    Raises:
        ModelError: `weights.unavailable` saying which file to place where; `weights.mismatch` when its digest is wrong.
        InputError: `input.unreadable` when there is no such file.
    """
    cache = cache or Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    if source == "imagenet":
        path = _fetched(official.name, official.folder + official.name, official.digest, cache)
    elif urlsplit(source).scheme in ("http", "https"):
        path = _from_url(official, source, cache)
    else:
        path = Path(source)
        if not path.is_file():
            raise InputError(
                f"There is no weights file {path.name!r}.",
                found=path.name,
                expected=f"`imagenet`, a URL, or a file such as {official.name}",
            )
    content = path.read_bytes()
    same = hashlib.new(official.algorithm, content, usedforsecurity=False).hexdigest() == official.digest
    return EncoderWeights(path, "sha256:" + hashlib.sha256(content).hexdigest(), same)


def load_encoder(model: keras.Model, encoder: Encoder, weights: EncoderWeights) -> None:
    """Put the weights of an application without classifier into a U-Net's encoder.

    The file is read by Keras itself, in either of its formats (`*.weights.h5`, and the older `*.h5` of the official
    files), into the application, and copied from there.

    Raises:
        InputError: `input.unreadable` when it is damaged.
        ModelError: `weights.mismatch` when it holds the weights of another network.
    """
    application = application_of(encoder)
    name = weights.path.name
    try:
        application.load_weights(weights.path)
    except OSError as fault:
        raise InputError(
            f"The weights file {name} cannot be read: it is no HDF5 file, or damaged.",
            found=name,
            expected="a weights file that Keras wrote",
            hint="Fetch it again.",
        ) from fault
    except (ValueError, KeyError) as fault:
        raise ModelError(
            f"The weights in {name} are not those of {encoder} without classifier: {str(fault).splitlines()[0][:200]}.",
            code="weights.mismatch",
            found=name,
            expected=f"weights such as {OFFICIAL[encoder].name}",
            hint="Name the encoder that the file was made for, and the file without classifier (notop).",
        ) from fault
    copy_weights(application, model.get_layer(NAME), encoder)


def _from_url(official: OfficialFile, source: str, cache: Path) -> Path:
    url, fragment = urldefrag(source)
    if url.endswith("/"):
        url += official.name
    name = Path(urlsplit(url).path).name
    digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
    return _fetched(name, url, digest or (official.digest if name == official.name else ""), cache)


def _fetched(name: str, url: str, digest: str, cache: Path) -> Path:
    """The file from Keras' cache, put there by Keras; one without a digest is fetched anew each time."""
    folder, host = cache / "models", urlsplit(url).hostname
    talkative = keras.config.is_interactive_logging_enabled()
    keras.config.disable_interactive_logging()  # Keras would draw its progress on standard output
    try:
        found = keras.utils.get_file(
            name, url, file_hash=digest or None, cache_dir=cache, cache_subdir="models", force_download=not digest
        )
        return Path(found)
    except ValueError as fault:
        raise ModelError(
            f"What was fetched as {name} from {host} is another file: its digest is not {digest}.",
            code="weights.mismatch",
            found=name,
            expected=digest,
            hint="Fetch it from another place.",
        ) from fault
    except Exception as fault:  # Keras raises bare Exceptions for what the network did
        raise ModelError(
            f"The weights file {name} is not in Keras' cache and cannot be fetched from {host}.",
            code="weights.unavailable",
            found=str(fault)[:300],
            expected={"file": name, "folder": str(folder), "digest": digest},
            hint=f"Put {name}{f' (digest {digest})' if digest else ''} into {folder}, "
            "or name a file or a mirror with --encoder-weights.",
        ) from fault
    finally:
        if talkative:
            keras.config.enable_interactive_logging()
