"""The PyTorch side of `training_step.py`, run by an interpreter that has PyTorch.

    python _torch_step.py SPEC.json

Builds the network that SPEC.json describes and then, for each line on standard input holding a number of steps, a
layout (`contiguous` or `channels_last`) and a precision (`float32` or `bfloat16`), does them and prints their seconds
as a JSON list.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn


def convolution(inputs: int, outputs: int, kernel: list[int], stride: list[int]) -> nn.Sequential:
    """Convolution, instance normalisation, leaky ReLU."""
    padding = [k // 2 for k in kernel]
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    )


class UNet(nn.Module):
    """The same plain U-Net as `segloop.nets.build_unet`, logits at several resolutions."""

    def __init__(self, spec: dict) -> None:
        super().__init__()
        features, kernels, strides = spec["features"], spec["kernels"], spec["strides"]
        count, before = spec["convolutions"], spec["channels"]
        self.down, self.up, self.join, self.heads = (nn.ModuleList() for _ in range(4))
        for width, kernel, stride in zip(features, kernels, strides, strict=True):
            layers = [convolution(before, width, kernel, stride)]
            layers += [convolution(width, width, kernel, [1, 1, 1]) for _ in range(count - 1)]
            self.down.append(nn.Sequential(*layers))
            before = width
        for stage in reversed(range(len(features) - 1)):
            width, kernel, stride = features[stage], kernels[stage], strides[stage + 1]
            self.up.append(nn.ConvTranspose3d(before, width, stride, stride))
            layers = [convolution(2 * width, width, kernel, [1, 1, 1])]
            layers += [convolution(width, width, kernel, [1, 1, 1]) for _ in range(count - 1)]
            self.join.append(nn.Sequential(*layers))
            self.heads.append(
                nn.Conv3d(width, spec["classes"], 1) if stage < spec["deep_supervision"] else nn.Identity()
            )
            before = width

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits, full resolution first."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        outputs = []
        for up, join, head, skip in zip(self.up, self.join, self.heads, skips[-2::-1], strict=True):
            x = join(torch.cat([skip, up(x)], 1))
            if not isinstance(head, nn.Identity):
                outputs.append(head(x))
        return outputs[::-1]


def loss_of(outputs: list[torch.Tensor], labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Dice and cross-entropy under deep supervision, in float32."""
    total = sum(0.5**i for i in range(len(outputs)))
    loss = torch.zeros(())
    for i, logits in enumerate(outputs):
        target = labels[:, :: 2**i, :: 2**i, :: 2**i]
        log_probability = torch.log_softmax(logits.float(), 1)
        entropy = nn.functional.nll_loss(log_probability, target)
        hot = nn.functional.one_hot(target, classes).movedim(-1, 1).float()
        probability = log_probability.exp()
        axes = (0, 2, 3, 4)
        overlap, size = (probability * hot).sum(axes)[1:], (probability + hot).sum(axes)[1:]
        loss = loss + 0.5**i / total * (entropy + 1 - ((2 * overlap + 1) / (size + 1)).mean())
    return loss


def main() -> None:
    """Answer requests until standard input ends."""
    spec = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    sides = {}
    for layout, memory in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last_3d)):
        model = UNet(spec["network"]).to(memory_format=memory)
        sides[layout] = (model, torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2), memory)
    image = torch.randn(spec["batch"], spec["network"]["channels"], *spec["patch"])
    labels = torch.randint(0, spec["network"]["classes"], (spec["batch"], *spec["patch"]))
    for line in sys.stdin:
        steps, layout, precision = line.split()
        model, optimizer, memory = sides[layout]
        batch = image.to(memory_format=memory)
        seconds = []
        for _ in range(int(steps)):
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                outputs = model(batch)
            loss = loss_of(outputs, labels, spec["network"]["classes"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 12.0)
            optimizer.step()
            seconds.append(time.perf_counter() - started)
        sys.stdout.write(json.dumps(seconds) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
