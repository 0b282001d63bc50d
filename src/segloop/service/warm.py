"""What a new worker process loads before its first study, so that no study waits for imports and weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from segloop.log import get_logger
from segloop.settings import ModelSettings
from segloop.study import StudyTask

_log = get_logger(__name__)

_LIBRARIES = ("highdicom", "typst", "cc3d", "nibabel", "scipy.ndimage", "PIL.Image")


class Warm:
    """A call that loads libraries and the models named in the settings; it crosses to the worker process.

    Args:
        models: Registry, runtime and which models.
    """

    def __init__(self, models: ModelSettings) -> None:
        self._models = models

    def __call__(self) -> None:
        """Load them.

        Raises:
            ModelError: A model is unknown, damaged or cannot run here.
        """
        from segloop.workflow import segmenter_for

        for name in _LIBRARIES:
            import_module(name)
        for model in self._models.warm:
            segmenter_for(
                StudyTask(
                    source=Path(),
                    out=Path(),
                    model=model,
                    registry=self._models.registry,
                    runtime=self._models.runtime,
                )
            )
            _log.info("model loaded", model=model)
