"""What training an adapted encoder takes, whatever the task."""

import logging
import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import speechbrain as sb
import torch
from speechbrain.dataio.sampler import DistributedSamplerWrapper
from speechbrain.utils.distributed import main_process_only
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mambadapter.budget.count import ParameterCount, count_parameters
from mambadapter.data.augmentation import Change, add_spec_augment, waveform_changes
from mambadapter.data.batching import ProcessShare
from mambadapter.encoders import AdaptedEncoder
from mambadapter.encoders.frozen_features import FrozenFeatures
from mambadapter.encoders.padding import refuse_short
from mambadapter.errors import DivergedError, UserError
from mambadapter.metrics.learning import first_epochs, learns
from mambadapter.training.checkpoints import TrainedTensors
from mambadapter.training.compiling import Compilation
from mambadapter.training.history import History
from mambadapter.training.optimisation import (
    optimiser_of,
    parameter_groups,
    schedule,
    warmup_steps,
)
from mambadapter.training.pace import Pace
from mambadapter.training.prior import PriorLoss
from mambadapter.training.sanity_check import prove_alive
from mambadapter.training.selection import checkpoint_rank, is_ranked
from mambadapter.training.stopwatch import Stopwatch
from mambadapter.utils.devices import warn_of_slow_bf16
from mambadapter.utils.files import user_cache

logger = logging.getLogger(__name__)

# Steps after which the host reads losses, and waits for them; on a CPU they are there at once.
_UNREAD = {"cuda": 20}

# What SpeechBrain and this Brain add to the metrics in a checkpoint's meta data.
_BOOKKEEPING = ("epoch", "unixtime", "end-of-epoch")


class EncoderBrain(sb.Brain):
    """A SpeechBrain `Brain` for an adapted encoder and a head; a task says what is predicted and scored.

    A task defines ``compute_forward``, `loss`, `targets`, `start_metrics` and `stage_metrics`. The best
    epoch is chosen on the validation set only, and restored before testing. A run that was killed goes on
    from its last checkpoint to the same result: what is random in a step depends on the seed and the
    step alone.

    Attributes
    ----------
    metrics : dict[str, dict[str, float]]
        Metrics on the validation set (``valid``) of the last epoch, and after testing of the best one;
        on the test set (``test``).
    details : dict[str, Any]
        What else a task says of its test, for ``result.json``.
    count : ParameterCount
        Parameters of the model.
    stopwatch : Stopwatch
        Time since this run was first built.
    pace : Pace
        How fast training goes, and where its time goes.
    history : History
        Metrics of every epoch so far.
    lr : float
        The learning rate of this step, of what has no rate of its own.
    augments : bool
        Training hears clips that are changed at random.
    """

    augments: bool = False
    _changes: tuple[Change, ...] = ()
    prior: ClassVar[type[PriorLoss]] = PriorLoss  # of the kind that `loss` is
    avg_train_loss: float

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        opt_class: Any = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Any = None,
        checkpointer: Any = None,
    ) -> None:
        try:
            super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        except ValueError as error:  # run options that do not go together, such as fp16 on a CPU
            raise UserError(str(error)) from error
        warn_of_slow_bf16(self.device, self.precision)
        self._encoder = cast(AdaptedEncoder, modules["encoder"])
        self._compilation = Compilation(self.hparams.compile, torch.device(self.device))
        self.count: ParameterCount = count_parameters(self._encoder, modules["head"])
        self.metrics: dict[str, dict[str, float]] = {}
        self.details: dict[str, Any] = {}
        self.train_stats: dict[str, float] = {}
        self.stopwatch = Stopwatch()
        self.pace = Pace(modules)
        self.history = History()
        self._prior = self.prior()
        self.lr = 0.0
        self._epoch, self._epoch_began = 1, time.perf_counter()
        self._micro_step = 0
        self._unread: list[tuple[Tensor, _Place]] = []
        self._last = 0  # batch of a stage whose loss is among them
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("trained", TrainedTensors(modules))
            self.checkpointer.add_recoverable("stopwatch", self.stopwatch)
            self.checkpointer.add_recoverable("history", self.history)
            self.checkpointer.add_recoverable("prior", self._prior)
        logger.info("Parameters\n%s", self.count)

    def loss(self, predictions: Any, batch: Any, stage: sb.Stage) -> Tensor:
        """The loss of a batch; outside training also a place to keep what the metrics need."""
        raise NotImplementedError

    def targets(self, batch: Any) -> Iterable[Any]:
        """What a batch of training asks for, such as classes; how often each occurs tells chance."""
        return ()

    def start_metrics(self) -> None:
        """Begin to collect what `stage_metrics` will need."""
        raise NotImplementedError

    def stage_metrics(self) -> dict[str, float]:
        """Metrics over the stage, those that `mambadapter.training.selection` compares among them."""
        raise NotImplementedError

    def start_augmenting(self) -> None:
        """From now on training hears clips changed as the YAML says."""
        of_clips = ("waveform_augmentation", "noise_folder", "noise_snr_low", "noise_snr_high",
                    "reverberation_folder")  # fmt: skip
        settings = {name: getattr(self.hparams, name) for name in of_clips}
        self._changes = waveform_changes(self._encoder.sample_rate, **settings)
        if self.hparams.spec_augment:
            add_spec_augment(self._encoder)
        self.augments = bool(self._changes) or self.hparams.spec_augment

    def heard(self, batch: Any, stage: sb.Stage) -> tuple[Tensor, Tensor | None]:
        """Move a batch to the device; its (B, S) waveforms and (B,) relative lengths, None if all are whole.

        In training it is changed as `start_augmenting` says. Lengths are looked at where the loader left
        them, so that no step waits for the device.
        """
        wavs, lens = batch.signal
        refuse_short(self._encoder.frames(torch.round(lens.double() * wavs.shape[1]).long()))
        padded = bool((lens != 1).any())
        wavs, lens = batch.to(self.device, non_blocking=True).signal
        if stage == sb.Stage.TRAIN and self._changes:
            for change in self._changes:
                wavs, lens = change(wavs, lens)
            return wavs, lens
        return wavs, lens if padded else None

    def encode(self, wavs: Tensor, lens: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, d) hidden states and (B,) frames of what `heard` gives, compiled if the YAML says so."""
        self.pace.turn_to("encoder")
        hidden, frames = self._compilation.run(self.modules.encoder, self._encoder, wavs, lens)
        self.pace.turn_to("other")
        return hidden, frames

    def _compile(self) -> None:
        """In place of SpeechBrain's way."""
        self._compilation.start(self._encoder)

    def compute_objectives(self, predictions: Any, batch: Any, stage: sb.Stage) -> Tensor:
        """The task's loss."""
        loss = self.loss(predictions, batch, stage)
        if stage == sb.Stage.TRAIN:
            self.pace.forward_ends()
        return loss

    def fit(self, epoch_counter: Any, train_set: Any, *args: Any, **kwargs: Any) -> None:
        """As SpeechBrain's; `train_set` may be a dataset or a loader."""
        if isinstance(train_set, DataLoader):
            self._plan(train_set)
        super().fit(epoch_counter, train_set, *args, **kwargs)

    def make_dataloader(
        self, dataset: Any, stage: sb.Stage, ckpt_prefix: str | None = "dataloader-", **kwargs: Any
    ) -> Any:
        """As SpeechBrain's."""
        # From pinned memory the device copies a batch while the host goes on.
        kwargs.setdefault("pin_memory", torch.device(self.device).type == "cuda")
        loader = super().make_dataloader(dataset, stage, ckpt_prefix, **kwargs)
        if stage == sb.Stage.TRAIN:
            self._plan(loader)
        return loader

    def _train_loader_specifics(self, dataset: Any, loader_kwargs: Any) -> Any:
        """As SpeechBrain's, with a share of the batches for each process that may be a single one."""
        options = super()._train_loader_specifics(dataset, loader_kwargs)
        for name in ("sampler", "batch_sampler"):
            if isinstance(whole := options.get(name), DistributedSamplerWrapper):
                options[name] = self.train_sampler = ProcessShare.of(whole)
        return options

    def _plan(self, loader: DataLoader) -> None:
        """Learn how many optimiser steps the run will take; the schedule depends on it."""
        self._loader = loader
        steps_per_epoch = math.ceil(len(loader) / self.grad_accumulation_factor)
        self._steps = steps_per_epoch * self.hparams.number_of_epochs
        self.lr_factor = schedule(
            self.hparams.schedule, self.hparams.warmup, self._steps, self.hparams.least_warmup
        )

    def on_fit_start(self) -> None:
        """Prove the model alive while it is fresh, then as SpeechBrain does."""
        if self.hparams.proof_of_life:
            prove_alive(self.modules["encoder"], self.modules["head"])
            logger.info("Proof of life: starts as the frozen encoder, all of it learns.")
        self._keep_frozen()
        super().on_fit_start()

    def _keep_frozen(self) -> None:
        """Compute once for each clip what no step changes; on a GPU a clip at a time would take longer."""
        if self._encoder.features or torch.device(self.device).type != "cpu":
            return
        if self._compilation.way == "step":  # all of it is one graph
            return
        folder, gigabytes = self.hparams.cache_folder or user_cache(), self.hparams.cache_gb
        if folder is None:
            folder, gigabytes = ".", 0
            logger.warning(
                "There is no home folder to keep frozen features in; give --cache_folder."
            )
        self._encoder.keep_frozen(Path(folder), 1e9 * gigabytes, training=not self.augments)
        if gigabytes and self._encoder.features:
            kept = "What is frozen is computed once for each clip%s and kept in %s, up to %g GB."
            which = " of validation and test" if self.augments else ""
            logger.info(kept, which, folder, gigabytes)

    def init_optimizers(self) -> None:
        """One optimiser, with the groups of parameters that the YAML declares."""
        groups = parameter_groups(self.modules, self.hparams.parameter_groups)
        self.optimizer = optimiser_of(self.opt_class, groups)
        self.optimizers_dict = {"optimizer": self.optimizer}
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def optimizers_step(self) -> None:
        """As SpeechBrain's, which would clip the gradients of the first parameter group only."""
        self.pace.turn_to("optimiser")
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.max_grad_norm > 0:
            nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def on_fit_batch_start(self, batch: Any, should_step: bool) -> None:
        """Set the learning rate and the random state of this step; count what it asks for."""
        self._prior.add(self.targets(batch))  # while it is on the CPU
        self.pace.batch_begins(compiled=self._compilation.way != "off")
        factor = self.lr_factor(self.optimizer_step)
        self.lr = self.hparams.lr * factor
        self._place = _Place(sb.Stage.TRAIN, batch.id, self.optimizer_step, self.lr)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        rank = getattr(self, "rank", 0)
        seed_step(self.hparams.seed, rank, self.optimizer_step, self._micro_step)
        self._micro_step = 0 if should_step else self._micro_step + 1

    def on_fit_batch_end(self, batch: Any, outputs: Any, loss: Tensor, should_step: bool) -> None:
        """Note how long the batch took; after the first of them, say how long the run will."""
        self.pace.batch_ends(len(batch.id))
        self._estimate()

    def _estimate(self, epoch_ends: bool = False) -> None:
        if self.pace.is_to_estimate(epoch_ends):
            epochs_left = self.hparams.number_of_epochs - self._epoch + 1
            logger.info(self.pace.estimate(epochs_left * len(self._loader) - self.step))

    @property
    def frozen_features(self) -> dict[str, Any] | None:
        """Where what is frozen ends; for how many clips it was computed, or read. None if it is not kept."""
        kept = self._encoder.features
        if not isinstance(kept, FrozenFeatures):
            return None
        return {"until": kept.ends, "computed": kept.computed, "read": kept.read}

    def check_loss_isfinite(self, loss: Tensor) -> None:
        """Nothing: the host would wait for the loss of each step. `update_average` reads them."""

    def fit_batch(self, batch: Any) -> Tensor:
        """As SpeechBrain's, but the loss stays on the device, and no batch of an epoch is left out.

        Its last step may be of fewer batches than the others, and is their mean as well.
        """
        factor, batches = self.grad_accumulation_factor, len(self._loader)
        if self.debug:
            batches = min(batches, self.debug_batches)
        should_step = self.step % factor == 0 or self.step == batches
        together = min(factor, batches - (self.step - 1) // factor * factor)
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            self.scaler.scale(loss / together).backward()
        if should_step:
            self.optimizers_step()
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.detach()

    def evaluate(self, *args: Any, **kwargs: Any) -> float:
        """As SpeechBrain's: the loss on a test set."""
        super().evaluate(*args, **kwargs)
        return self.metrics["test"]["loss"]

    @torch.no_grad()
    def evaluate_batch(self, batch: Any, stage: sb.Stage) -> Tensor:
        """As SpeechBrain's, but the loss stays on the device."""
        self._place = _Place(stage, batch.id)
        with self.evaluation_ctx:
            outputs = self.compute_forward(batch, stage)
            loss = self.compute_objectives(outputs, batch, stage)
        return loss.detach()

    def update_average(self, loss: Tensor, avg_loss: float) -> float:
        """As SpeechBrain's, reading the losses of several batches at once."""
        self._unread.append((loss, self._place))
        self._last = self.step
        if len(self._unread) < _UNREAD.get(loss.device.type, 1):
            return avg_loss
        return self._read_losses(avg_loss)

    def _read_losses(self, avg_loss: float) -> float:
        """The mean of this stage's losses; the first that is not finite ends the run."""
        unread, self._unread = self._unread, []
        losses = torch.stack([loss for loss, _ in unread]).tolist() if unread else []
        self.pace.read()
        first = self._last - len(losses) + 1
        for step, (loss, (_, place)) in enumerate(zip(losses, unread, strict=True), first):
            if not math.isfinite(loss):
                raise DivergedError(f"{place.say(loss)} {self._kept()}")
            avg_loss += loss / step - avg_loss / step
        return avg_loss

    def _kept(self) -> str:
        return f"Checkpoints so far are kept in {self.hparams.output_folder}."

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time: float, steps_since_ckpt: int) -> bool:
        # Between the batches of one accumulated step the gradients would be lost.
        wanted = super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)
        wanted = wanted and self._micro_step == 0
        if wanted:  # one process saves it, and all go on from that
            self.avg_train_loss = mean_over_processes(self._read_losses(self.avg_train_loss))
        return wanted

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Begin to collect what the metrics need."""
        self.start_metrics()
        self._micro_step = 0
        if stage == sb.Stage.TRAIN:
            self._epoch, self._epoch_began = epoch or 1, time.perf_counter()
            self.pace.epoch_begins(self.device)

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Compute metrics, log, and keep the best and the latest epoch."""
        stage_loss = self._read_losses(stage_loss)
        if stage == sb.Stage.TRAIN:
            self._estimate(epoch_ends=True)
            self.pace.epoch_ends()
            self.train_stats = {"loss": mean_over_processes(stage_loss)}
            self._compilation.report()
            if (prior := self._prior.loss) is not None:
                self.train_stats["prior_loss"] = prior
            return
        stats = {**self.stage_metrics(), "loss": stage_loss}
        name = stage.name.lower()
        self.metrics[name] = stats
        if stage == sb.Stage.VALID:
            meta = {"epoch": epoch, "lr": self.lr, **self._cost(epoch)}
            self._log(meta, train_stats=self.train_stats, valid_stats=stats)
            self.history.add(epoch, self.lr, self.train_stats, stats)
            self._warn_unless_learning()
            if self.checkpointer is not None:
                self.checkpointer.save_and_keep_only(
                    meta={"epoch": epoch, **stats},
                    importance_keys=[checkpoint_rank],
                )
        else:
            self._log({"best epoch": self.best_epoch}, test_stats=stats)

    def _cost(self, epoch: int | None) -> dict[str, float]:
        """What a line of the log says of time, and of what was read instead of computed."""
        epochs_left = self.hparams.number_of_epochs - (epoch or 0)
        hours = epochs_left * (time.perf_counter() - self._epoch_began) / 3600
        kept = self.frozen_features or {}
        counts = {f"clips {name}": kept[name] for name in ("computed", "read") if name in kept}
        return {"clips/s": self.pace.summary["clips_per_s"], "hours left": hours, **counts}

    def _warn_unless_learning(self) -> None:
        epochs = self.history.epochs
        later = epochs[first_epochs(self.hparams.number_of_epochs) - 1 :]
        failing = [epoch for epoch in later if not learns(epoch)]
        if len(failing) != 1 or failing[0] is not epochs[-1]:  # it learns, or was warned of before
            return
        steps = warmup_steps(self.hparams.warmup, self._steps, self.hparams.least_warmup)
        warmup = steps / max(self._steps, 1)
        longer = f" or its warm-up too short (--warmup {min(2 * max(warmup, 0.1), 0.5):.1f})"
        logger.warning(
            "In epoch %d the training loss, %.3g, is not below that of a model that ignores its "
            "input, %.3g: this run does not learn. Its learning rate may be too high (a fifth: "
            "--adapter.lr %.2g, or --lr if that is set)%s; if the loss falls, but slowly, this rate or the "
            "head's (--head_lr) may be too low. `learned` in result.json will say how it ended.",
            len(epochs), self.train_stats["loss"], self.train_stats["prior_loss"],
            self.hparams.lr / 5, longer if warmup < 0.5 else "",
        )  # fmt: skip

    def on_evaluate_start(self, max_key: str | None = None, min_key: str | None = None) -> None:
        """Test the best epoch."""
        self._keep_frozen()
        self.restore_best()

    def restore_best(self) -> None:
        """Go back to the epoch that did best on validation data."""
        self.best_epoch = None
        if self.checkpointer is None:
            return
        best = self.checkpointer.recover_if_possible(
            importance_key=checkpoint_rank, ckpt_predicate=is_ranked
        )
        if best is None:
            raise UserError(
                f"No finished epoch to test in {self.checkpointer.checkpoints_dir}: train first, "
                "without --test_only."
            )
        self.best_epoch = best.meta["epoch"]
        self.metrics["valid"] = {
            name: best.meta[name] for name in best.meta if name not in _BOOKKEEPING
        }

    # SpeechBrain's loggers are collective by themselves: a rank that left early would hang the rest.
    @main_process_only
    def _log(self, stats_meta: dict[str, Any], **stats: dict[str, float]) -> None:
        self.hparams.train_logger.log_stats(stats_meta, **stats)
        if self.hparams.tensorboard:
            self._tensorboard().log_stats(stats_meta, **stats)

    def _tensorboard(self) -> Any:
        if not hasattr(self, "_tensorboard_logger"):
            from speechbrain.utils.train_logger import TensorboardLogger

            folder = f"{self.hparams.output_folder}/tensorboard"
            self._tensorboard_logger = TensorboardLogger(folder)
        return self._tensorboard_logger


@dataclass(frozen=True)
class _Place:
    """Which batch a loss is of."""

    stage: sb.Stage
    clips: Sequence[str]
    step: int = 0  # of training, and its learning rate
    lr: float = 0.0

    def say(self, loss: float) -> str:
        """What is wrong with such a loss, and the mend."""
        clips = f"clips {', '.join(self.clips[:3])}{' ...' if len(self.clips) > 3 else ''}"
        if self.stage == sb.Stage.TRAIN:
            return (
                f"The loss is {loss} at optimiser step {self.step} (learning rate {self.lr:.2g}; "
                f"{clips}). Lower --lr, set --max_grad_norm, or leave those clips out."
            )
        return (
            f"The {self.stage.name.lower()} loss is {loss} ({clips}). Lower --lr or set "
            "--eval_precision fp32."
        )


def mean_over_processes(value: float) -> float:
    """Of the processes that train together, each of which has seen as many batches; alone, the value."""
    if not torch.distributed.is_initialized():
        return value
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return sum(values) / len(values)


def seed_step(seed: int, rank: int, step: int, micro_step: int) -> None:
    """Make the random state of a training step a function of where it stands in the run.

    Dropout then draws the same numbers whether the run came here in one go or was resumed;
    SpeechBrain's checkpoints hold no random state.
    """
    mixed = np.random.SeedSequence([seed, rank, step, micro_step]).generate_state(1)
    value = int(mixed[0])
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)
