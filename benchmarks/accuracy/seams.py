"""Seams of the sliding window: 1280 x 1280 pixels by 512 windows at stride 256.

    python benchmarks/accuracy/seams.py --bundle runs/isbi2012-em/fold0/bundle

The same pixels are segmented by two tilings that lie half a stride apart. Where a tiling shows, the two disagree more
at window borders than elsewhere. Writes `benchmarks/results/seams.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from harness import DATA, row, write_result

from segloop.infer import Bundle, Segmenter
from segloop.infer.engine import run_network
from segloop.io import files
from segloop.prep import Chain
from segloop.volume import Geometry, Volume

SIZE, WINDOW, STRIDE = 1280, 512, 256
SHIFT = STRIDE // 2
NEAR = 8
"""Pixels on either side of a window's edge that count as border."""


def main() -> None:
    """Segment twice, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="a 2-D model of isbi2012-em")
    options = parser.parse_args()
    bundle = Bundle(options.bundle)
    plan = bundle.plan.changed(
        {
            "inference.mode": "window",
            "inference.patch": [1, WINDOW, WINDOW],
            "inference.overlap": 1 - STRIDE / WINDOW,
            "inference.mirror_axes": [],
        }
    )
    runtime = Segmenter(bundle).runtime
    canvas = _canvas()
    # Prepared as a whole, so that both tilings see the same values.
    array = Chain(plan).prepare(canvas).array
    first = run_network(plan, runtime, array[:, :SIZE, :SIZE]).argmax(-1)[0]
    second = run_network(plan, runtime, array[:, SHIFT : SHIFT + SIZE, SHIFT : SHIFT + SIZE]).argmax(-1)[0]
    # The part that neither tiling has at its outer edge, where there is no context on one side.
    common = slice(SHIFT + STRIDE, SIZE - STRIDE)
    differs = (
        first[common, common]
        != second[common.start - SHIFT : common.stop - SHIFT, common.start - SHIFT : common.stop - SHIFT]
    )
    at = np.arange(common.start, common.stop)
    near = np.minimum(*(_distance(at - offset) for offset in (0, SHIFT))) < NEAR
    border = near[:, None] | near[None, :]
    there, elsewhere = float(differs[border].mean()), float(differs[~border].mean())
    ratio = there / elsewhere if elsewhere else float("inf")
    write_result(
        "seams",
        [
            row(
                "disagreement of two tilings at window borders, relative to elsewhere (1280², window 512, stride 256)",
                "两种错位拼接在窗口边缘的不一致，相对于其他位置（1280²，窗口 512，步长 256）",
                f"{ratio:.2f}",
                "≤ 1.2",
            )
        ],
        at_borders=there,
        elsewhere=elsewhere,
        border_pixels=NEAR,
        pixels=int(differs.size),
    )


def _canvas() -> Volume:
    """Sections of the stack side by side, 1536 pixels square: mirrored at the joints, so that nothing jumps."""
    tiles = [files.read(DATA / "isbi2012-em" / "image" / f"{n:02d}.png").array[0] for n in range(9)]
    turned = [
        np.flip(tile, [axis for axis, odd in enumerate((i // 3 % 2, i % 3 % 2)) if odd]) for i, tile in enumerate(tiles)
    ]
    array = np.block([turned[i : i + 3] for i in (0, 3, 6)])[None]
    return Volume(np.ascontiguousarray(array), Geometry(array.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), "")


def _distance(at: np.ndarray) -> np.ndarray:
    """From each position to the nearest multiple of the stride, where windows begin and end."""
    rest = at % STRIDE
    return np.minimum(rest, STRIDE - rest)


if __name__ == "__main__":
    main()
