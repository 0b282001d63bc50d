"""`segloop reidentify`: results about pseudonymised copies, linked to the original study again."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segloop.cli.console import Console, Verdict
from segloop.cli.deployment import add_config, settings
from segloop.cli.verbs.deidentify import told
from segloop.cli.verbs.send import dicom_files
from segloop.errors import InputError

if TYPE_CHECKING:
    from segloop.io.deid import Links, Traced


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "result",
        type=Path,
        metavar="RESULT",
        help="SEG, SR, RTSTRUCT, PDF in DICOM or the like, or a folder; with --whose copies as well",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--key-file", type=Path, metavar="K", help="secret that the copies were made with")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="table that `segloop deidentify --mapping` wrote")
    parser.add_argument(
        "--training",
        action="store_true",
        help="about copies that a deployment kept for training: its own key and tables, instead of those two",
    )
    add_config(parser)
    parser.add_argument(
        "--whose",
        action="store_true",
        help="write nothing, and say whose the files are: shows patients to whoever reads the screen",
    )


def run(arguments: argparse.Namespace, console: Console) -> dict[str, Any] | Verdict:
    """Link results back, or say whose they are; what the table does not know is refused, and then the verb fails."""
    from segloop.io import deid

    if arguments.training == (arguments.mapping is not None) or (arguments.mapping is None) != (
        arguments.key_file is None
    ):
        raise InputError("Give --key-file and --mapping, or --training.", code="usage")
    if arguments.whose == (arguments.output is not None):
        raise InputError("Give a folder to write to with -o, or --whose.", code="usage")
    files = dicom_files(arguments.result)
    key, links = _table(arguments, files)
    if arguments.whose:
        traced, lost = deid.trace(files, links)
        return _shown(traced, lost, console)
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        console.progress(done, total, "files", (time.monotonic() - started) / done * (total - done))

    result = deid.reidentify(files, arguments.output, key, links, progress)
    console.say(f"{len(result.written)} of {len(files)} results written to {arguments.output}")
    return told(result.written, result.refused, "are not linked to anybody", console)


def _table(arguments: argparse.Namespace, files: Sequence[Path]) -> tuple[bytes, Links]:
    """The key and the table; of a deployment's tables those of the patients that the files name by pseudonym."""
    from segloop.io import deid

    if not arguments.training:
        key = deid.read_key(arguments.key_file)
        return key, deid.read_links(arguments.mapping, key)
    from segloop.service import training
    from segloop.store import Tokens

    data_dir = settings(arguments).data_dir
    links = training.links_of(data_dir, deid.aliases_in(files))
    return training.secret(Tokens.load(data_dir)), links


def _shown(traced: Sequence[Traced], refused: Sequence[Any], console: Console) -> dict[str, Any] | Verdict:
    """The originals: to a person one line for each series, to a machine one entry for each file."""
    kinds = Counter((t.patient, t.study, t.series_uid) for t in traced)
    rows = [
        (p.id, p.name, p.birth_date, s.date, s.uid, series or "(a result)", n) for (p, s, series), n in kinds.items()
    ]
    console.table(("patient", "name", "born", "study date", "study", "series", "files"), rows)
    answer = told((), refused, "lead to nobody", console)
    document = answer.document if isinstance(answer, Verdict) else answer
    told_of = [
        {
            "file": str(t.source),
            "patient": {
                "id": t.patient.id,
                "issuer": t.patient.issuer,
                "name": t.patient.name,
                "birth_date": t.patient.birth_date,
                "sex": t.patient.sex,
            },
            "study_uid": t.study.uid,
            "study_date": t.study.date,
            "accession_number": t.study.accession_number,
            "series_uid": t.series_uid,
            "sop_instance_uid": t.instance_uid,
        }
        for t in traced
    ]
    whole = {**document, "originals": told_of}
    return Verdict(whole, answer.error) if isinstance(answer, Verdict) else whole
