"""From an argument list to an exit status; every verb is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from segloop import __version__
from segloop.errors import InputError, SegloopError

VERBS: dict[str, str] = {
    "demo": "the whole loop on a phantom or on a given study",
    "run": "the closed loop on one study, without a server",
    "sign": "put a name under the result of a run, or correct what was signed",
    "predict": "masks in the input's own geometry",
    "check": "every fault of a dataset, before training",
    "plan": "look at a dataset and write the recipe for a model",
    "train": "train a model from a dataset and write its bundle",
    "cross-validate": "train all folds, score what each held out, and choose from that",
    "ensemble": "several bundles as one, their probabilities averaged",
    "evaluate": "score a bundle on the cases of a dataset",
    "explain": "where the network looked, and how sure it is",
    "export": "a bundle as an artefact that servers and devices run by themselves",
    "convert": "any image or DICOM series to a volume file",
    "deidentify": "copies of DICOM files that name nobody",
    "reidentify": "results about such copies, linked to the original study again",
    "phantom": "a DICOM study with exactly known volumes",
    "send": "send DICOM files to a peer",
    "serve": "DICOM node, work list and jobs",
    "models": "the registry of models",
    "jobs": "the study ledger",
    "audit": "the audit trail",
    "status": "what this installation can do",
}
"""Every verb and what it does, in the order of `segloop --help`."""

INTERRUPTED = 130
_BUG = 1


def verb_module(verb: str) -> ModuleType:
    """The module that implements a verb."""
    return importlib.import_module(f"segloop.cli.verbs.{verb.replace('-', '_')}")


def build_parser(verbs: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the arguments of `verbs` filled in and the other verbs known by name only."""
    parser = argparse.ArgumentParser(
        prog="segloop",
        description="The closed loop of medical image segmentation. For research use.",
        epilog="exit status: 0 done, 2 input or usage, 3 plan, 4 model, 5 privacy, 6 service or peer, 130 interrupted, "
        "1 a bug",
    )
    parser.add_argument("--version", action="version", version=f"segloop {__version__}")
    kinds = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, purpose in VERBS.items():
        child = kinds.add_parser(verb, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if verb in verbs:
            verb_module(verb).add_arguments(child)
            child.add_argument("--json", action="store_true", help="print one machine-readable document")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status of INTERFACES: 0, 1, 2, 3, 4, 5, 6 or 130."""
    from segloop.cli.console import Console, Verdict

    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare_process()
    verb = next((a for a in arguments if a in VERBS), None)
    try:
        parsed = build_parser([verb] if verb else []).parse_args(arguments)
    except SystemExit as leaving:
        if leaving.code and "--json" in arguments:
            Console(json=True).error(
                InputError("The command line is not understood; see `segloop --help`.", code="usage")
            )
        return int(leaving.code or 0)
    console = Console(json=parsed.json)
    try:
        document = verb_module(parsed.verb).run(parsed, console)
    except SegloopError as fault:
        console.error(fault)
        return fault.exit_status
    except KeyboardInterrupt as told:
        console.say(str(told) or "Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as fault:
        if os.environ.get("SEGLOOP_DEBUG"):
            raise
        console.error(_as_bug(fault))
        return _BUG
    failure = document.error if isinstance(document, Verdict) else None
    if failure is None:
        console.document(document)
    else:
        console.error(failure, document.document)
    return failure.exit_status if failure else 0


def _as_bug(fault: Exception) -> SegloopError:
    import errno

    from segloop.errors import ServiceError

    if isinstance(fault, OSError) and fault.errno == errno.ENOSPC:
        return ServiceError("No space is left on the disk; free some and run the command again.", code="disk.full")
    where = fault.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{where.tb_lineno}" if where else "unknown place"
    return SegloopError(
        f"A bug in segloop: {type(fault).__name__}: {fault} ({place}).",
        hint="Run again with SEGLOOP_DEBUG=1 for the traceback and report it.",
    )


def _prepare_process() -> None:
    """Set what must be set before TensorFlow is loaded: the Keras backend and its quietness."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
