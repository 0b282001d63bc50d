"""nnU-Net's own trainer for a given time, run by an interpreter that has nnunetv2; `sarcoma_pet.py` calls it.

    python _nnunet.py SPEC.json

Writes predictions of the held-out cases to the folder the specification names, and `done.json` with the steps. The
learning rate falls by nnU-Net's own rule over the time instead of over its 1,000 epochs; its validation epochs are left
out, and planning and preprocessing are not counted, both to its advantage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Plan once, then train and predict one fold."""
    spec = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    work = Path(spec["work"])
    for kind in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{kind}"] = str(work / kind)
        (work / kind).mkdir(parents=True, exist_ok=True)
    os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112 - nnU-Net spells it so
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(spec["threads"])
    number, name = spec["number"], spec["name"]
    prepared = work / "preprocessed" / name
    if not (prepared / "ready").exists():
        extract_fingerprints([number], num_processes=1)
        plan_experiments([number])
        preprocess([number], configurations=("3d_fullres",), num_processes=(1,))
        (prepared / "ready").touch()
    (prepared / "splits_final.json").write_text(json.dumps(spec["splits"]), "utf-8")

    class Timed(nnUNetTrainer):
        """Trains until the time is up."""

        def run_training(self) -> None:
            started = time.monotonic()
            self.on_train_start()
            self.network.train()
            self.steps = 0
            while (gone := time.monotonic() - started) < spec["seconds"]:
                for group in self.optimizer.param_groups:
                    group["lr"] = self.initial_lr * (1 - gone / spec["seconds"]) ** 0.9
                self.train_step(next(self.dataloader_train))
                self.steps += 1
            self.seconds = time.monotonic() - started
            for loader in (self.dataloader_train, self.dataloader_val):
                if hasattr(loader, "_finish"):  # background processes
                    loader._finish()
            self.save_checkpoint(str(Path(self.output_folder, "checkpoint_final.pth")))

    plans = json.loads((prepared / "nnUNetPlans.json").read_text("utf-8"))
    plans["continue_training"] = False  # as nnU-Net's own command sets it
    dataset = json.loads((prepared / "dataset.json").read_text("utf-8"))
    trainer = Timed(plans, "3d_fullres", spec["fold"], dataset, device=torch.device("cpu"))
    trainer.run_training()
    trainer.set_deep_supervision_enabled(False)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    folder = work / "results" / name / "Timed__nnUNetPlans__3d_fullres"
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    out = Path(spec["out"])
    out.mkdir(parents=True, exist_ok=True)
    images = [[str(work / "raw" / name / "imagesTr" / f"{case}_0000.nii.gz")] for case in spec["cases"]]
    if images:
        predictor.predict_from_files_sequential(images, [str(out / case) for case in spec["cases"]])
    batch = trainer.configuration_manager.batch_size
    done = {"steps": trainer.steps, "seconds": trainer.seconds, "batch": batch, "folder": folder.name}
    (out / "done.json").write_text(
        json.dumps(done | {"patch": list(trainer.configuration_manager.patch_size)}), "utf-8"
    )


if __name__ == "__main__":
    main()
