"""The models of an ensemble, opened: each with its own Plan, grid and runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from jaxtyping import Float

from segloop.errors import ModelError
from segloop.infer.bundle import Bundle
from segloop.infer.mirror import with_mirroring
from segloop.infer.runtimes.base import SERVING, Runtime, one_network_only, open_runtime
from segloop.infer.runtimes.choice import choose
from segloop.plan import Plan


@dataclass(frozen=True, slots=True)
class Member:
    """One model ready to run.

    Args:
        plan: Its own recipe: how it prepares an image and passes it through its network.
        runtime: Holding its network.
        weight: Its share of the mean probability; the shares of all members sum to 1.
    """

    plan: Plan
    runtime: Runtime
    weight: float


@dataclass(frozen=True, slots=True)
class Members:
    """The runtime of an ensemble; `infer.engine` runs its members one after the other.

    Args:
        members: At least one.
        choice: Why these runtimes, in one sentence.
    """

    members: tuple[Member, ...]
    choice: str = "given"

    @property
    def name(self) -> str:
        """Of the members' runtimes, each once, joined by `+`."""
        return "+".join(dict.fromkeys(member.runtime.name for member in self.members))

    @property
    def precision(self) -> str:
        """Of the members' hidden layers, each once, joined by `+`."""
        return "+".join(dict.fromkeys(member.runtime.precision for member in self.members))

    def mirrored(self) -> Members:
        """The same members, each also segmenting mirrored images.

        Raises:
            InputError: `usage` when one of them was trained without mirroring.
        """
        return replace(self, members=tuple(replace(m, plan=with_mirroring(m.plan)) for m in self.members))

    def __call__(self, batch: Float[np.ndarray, "b *space c"]) -> NoReturn:
        """Refuse: members see different grids, so there is no one batch to run.

        Raises:
            ModelError: `bundle.ensemble`, always.
        """
        raise ModelError(
            f"An ensemble of {len(self.members)} models runs on whole images, not on one batch of patches.",
            code="bundle.ensemble",
            found=list(batch.shape),
            expected="an image, through Segmenter",
        )


def open_members(bundle: Bundle, runtime: str) -> Members:
    """An ensemble's members in their runtimes.

    Args:
        bundle: An ensemble.
        runtime: A name of `RUNTIMES` for all, or `auto`: measured once for each distinct network, since folds of one
            Plan are equally fast.

    Raises:
        ModelError: `runtime.unavailable`, `bundle.corrupt`.
    """
    if runtime.startswith(f"{SERVING}:"):
        raise one_network_only(bundle.manifest.name)
    opened: list[Member] = []
    said: dict[str, str] = {}
    names: dict[str, str] = {}
    for number, (member, weight) in enumerate(bundle.members()):
        kind = member.plan.network.model_dump_json() + str(member.plan.inference.patch)
        if runtime != "auto":
            names[kind] = runtime
        elif kind not in names:
            choice = choose(member)
            names[kind] = choice.name
            said[f"member {number}"] = choice.text
        opened.append(Member(member.plan, open_runtime(member, names[kind]), weight))
    text = "; ".join(f"{who}: {why}" for who, why in said.items()) or f"{runtime} was asked for"
    return Members(tuple(opened), text)


def given(plans: Sequence[Plan], runtimes: Sequence[Runtime], weights: Sequence[float]) -> Members:
    """Members from opened runtimes; the weights are divided by their sum."""
    total = sum(weights)
    triples = zip(plans, runtimes, weights, strict=True)
    return Members(tuple(Member(plan, runtime, weight / total) for plan, runtime, weight in triples))
