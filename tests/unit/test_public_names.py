"""What `import segloop as sl` offers: every name is there, sorted, and nothing heavy is loaded for it."""

from __future__ import annotations

import subprocess
import sys

import segloop as sl


def test_every_public_name_can_be_had_and_no_other():
    assert sorted(sl.__all__) == sorted([*sl._HOMES, "__version__"])
    for name in sl.__all__:
        assert getattr(sl, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error():
    assert not hasattr(sl, "Segmentor")


def test_the_libraries_own_names_load_no_network_library():
    code = (
        "import sys, segloop as sl; sl.Segmenter, sl.Registry, sl.read, sl.Plan, sl.Dataset, sl.process_study;"
        "sys.exit(sorted({'tensorflow', 'keras', 'openvino'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
