"""The training loop: any Backbone, any dataset, one generator of events.

A run is resumed exactly while its entries are kept in the cache: the state on disk holds the adapter and the
optimizer, and everything else (images, captions, noise, times, learning rate) is a pure function of the step. Captions
that must be encoded anew may differ in their last bits, as they are encoded together with whatever else is missing.
"""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..captions.tags import add_trigger, join_tags, split_tags, tag_frequency
from ..common.errors import UserError
from ..common.events import Event, Events, Warned
from ..common.files import atomic_path
from ..common.tensor_cache import digest_tensors
from ..datasets.dataset import Dataset, split_validation
from ..datasets.recorded import record_images
from ..lora.hashes import check_weights
from ..models.backbone import Backbone, Conditioning
from ..models.devices import to_device
from ..models.layers import Coverage, coverage
from ..models.out_of_memory import MemorySaver, is_out_of_memory, release_memory
from ..models.precision import autocast
from ..pictures.images import to_image
from ..proofs.covered import prove_coverage
from ..proofs.proof import Proof, same_chance
from ..proofs.same_text import prove_same_text
from ..proofs.saved_file import unproved
from ..stacks.stack import StackEntry
from . import checkpoint, runs
from .config import FULL, TrainConfig
from .epochs import set_epochs
from .events import CheckpointSaved, Finished, Previewed, Proved, RunStarted, StepDone
from .feed import Batch, Feed, derived_seed, edit_form, open_cache, tidy_cache
from .masked_loss import masked_loss, masked_prior
from .metadata import lora_metadata
from .objectives import Loss
from .optimizers import found_rate_warning
from .parallel.followed import open_run
from .parallel.team import ALONE, Share, Team, check_team
from .preserving.beside import FrozenLoras, beside_key, check_beside, describe_beside
from .preserving.preservation import Preservation
from .preserving.regularisation import as_regularisation, regularisation_metadata, regularisation_notes
from .schedules import rate_factor
from .step.advice import cautions_of, check_scaling, divergence_advice, memory_advice, overfitting_advice
from .step.averages import Averages
from .step.compiled import CompiledBlocks, compile_problem
from .step.draws import draw_batch
from .step.readings import Queued, Readings, guard
from .trained.kinds import METHODS, Training
from .tuners.ranks import layers_left_out
from .validation import LossWatch, Validator
from .watched.watch import ImageWatch


class Diverged(UserError):
    """A step whose loss or gradient is not a number."""


def train(
    backbone: Backbone,
    dataset: Dataset,
    config: TrainConfig,
    runs_root: Path,
    *,
    validation: Dataset | None = None,
    regularisation: Dataset | None = None,
    beside: Sequence[StackEntry] = (),
    lineage: dict[str, Any] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    retrain: bool = False,
    team: Team = ALONE,
) -> Events:
    """Train a LoRA, or the network itself, yielding events; the last is Finished with the path of the file.

    `regularisation` are images of the class, which get no trigger (`preserving/regularisation.py`), and
    `beside` are LoRAs that are on in the training, frozen, and not saved (`preserving/beside.py`).
    An identical finished run under `runs_root` is reused and a partial one resumed, unless `retrain`.
    `should_stop` is called after every step; if it returns true, the LoRA and the state are saved and the run ends
    early. Closing the generator, Ctrl-C, or an error between steps saves both too. The backbone is left unchanged.
    All processes of a `team` call this alike and train one run together; only the first one writes and reports it.

    Raises:
        UserError: a setting or image that cannot work, a loss that is not a number, or memory that ran out.
    """
    notes: tuple[str, ...] = ()
    if validation is None:
        dataset, validation = split_validation(dataset, config.data.validation_fraction, config.seed)
        notes = dataset.notes
    regularising = as_regularisation(regularisation)
    notes += regularisation.notes if regularisation else ()
    config = set_epochs(config, dataset.concat(regularising), backbone.family.bucket_step)
    check_team(team, config)
    form = edit_form(backbone, config, dataset, validation, regularising)
    runs_root, beside = Path(runs_root), check_beside(beside, config)
    given = {**({"beside": beside_key(beside)} if beside else {}),
             **({"regularisation": regularising.fingerprint} if len(regularising) else {})}

    def key_of(config: TrainConfig) -> str:
        return runs.run_key(config, backbone.fingerprint, dataset.fingerprint, validation.fingerprint, backbone.family,
                            form, given)

    asked = config
    config = replace(config, precision=team.told(lambda: runs.settle_precision(asked, backbone, lambda settled: (
        not retrain and runs.find_run(runs_root, settled.name, key_of(settled)) is not None)).precision))
    check_scaling(backbone, config)
    lineage = {"base": backbone.fingerprint, "dataset": dataset.fingerprint, **({"edit_form": form} if form else {}),
               **given, **({"beside": describe_beside(beside)} if beside else {}), **(lineage or {})}
    run = open_run(team, runs_root, config, key_of(config), lineage, retrain=retrain)
    if run.finished:
        check_weights(run.final_path)
        run.forget_state()  # in case the process died before it could
        yield from (Warned(proof.words) for proof in run.proofs if not proof.passed)
        yield Finished(config.steps, run.final_path, stopped=False, reused=True)
        return
    recompute = 1.0 if config.gradient_checkpointing else run.recomputed if config.fit_memory else 0.0
    full = config.method == FULL  # its blocks are moved once it has weights of its own
    if full and config.fit_memory:
        config = config.replace(offload_blocks=max(config.offload_blocks, run.offloaded))
    with run.locked(), backbone.training(recompute, 0.0 if full else config.offload_blocks):
        if team.writes:
            record_images(run.folder, dataset.concat(regularising), validation)
        session = _Session(backbone, dataset, validation, config, run, regularising, beside, team)
        with contextlib.closing(session):
            yield from (Warned(note) for note in (*notes, *run.notes, *session.notes))
            yield from session.run_steps(should_stop)


class _Session:
    """One run in progress: the adapters in the network, the optimizer, and where it stands."""

    def __init__(self, backbone: Backbone, dataset: Dataset, validation: Dataset, config: TrainConfig,
                 run: runs.Run, regularisation: Dataset, beside: Sequence[StackEntry], team: Team) -> None:
        self.backbone, self.dataset, self.config, self.run = backbone, dataset, config, run
        self.regularisation, self.team = regularisation, team
        self.saver = MemorySaver(backbone, config.fit_memory, run.save_recomputed, run.save_offloaded)
        self.started_at = time.time()
        self.loss = Loss.of(backbone.family, backbone.schedule, config.objective)
        self.notes = (*cautions_of(backbone, config), *regularisation_notes(regularisation, config.data.trigger))
        self.watch = LossWatch(config.steps)
        self.readings = Readings(backbone.device)
        self.consistent, self.guarded = True, False
        self.states = checkpoint.StateWriter(run.state_path, config.state_minutes)
        self.compiled: CompiledBlocks | None = None
        self.compiling = contextlib.ExitStack()
        self._trained: Training | None = None
        self.images = ImageWatch(run.folder, team.writes)
        self._frozen: FrozenLoras | None = None
        self.optimizer: Any
        self.scaler: torch.amp.GradScaler
        self.cache = open_cache(run.folder.parent, config)
        try:
            self.feed = Feed(backbone, dataset.concat(regularisation), config, self.cache)
            held_out = Feed(backbone, *_as_validation(validation, config), self.cache) if len(validation) else None
            self.validator = Validator(self, held_out)
            self.preservation = Preservation(self)
            self._frozen = FrozenLoras(backbone, beside, config)
            self.notes += self._frozen.notes
            self._trained = METHODS[config.method](backbone, config, run.folder, self._cannot_undo)
            self.notes += tuple(self._trained.notes)
            self.averages = Averages(self._trained.parameters, config.optimizer)
            with team.first():  # the others read what it has put in order
                self.step = self._resume()
                run.truncate_metrics(self.step)
                for _, loss in runs.read_losses(run.folder):
                    self.watch.add(loss)
                self.images.open(self.feed, config, self.step)
            team.check_same("state to begin with", self._digest)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.compiling.close()
        self.cache.close()
        self.states.wait()
        self.images.close()
        if self._trained:
            self._trained.close()
        if self._frozen:
            self._frozen.close()

    @property
    def trained(self) -> Training:
        """What the run trains, while the session is open."""
        assert self._trained, "the session is open"
        return self._trained

    @property
    def frozen(self) -> FrozenLoras:
        """The LoRAs beside what is trained, while the session is open."""
        assert self._frozen, "the session is open"
        return self._frozen

    # -- the steps -----------------------------------------------------------------------------------------------

    def run_steps(self, should_stop: Callable[[], bool]) -> Events:
        found = self._coverage()
        yield RunStarted(
            self.run.folder, self.config.steps, self.step, len(self.dataset), len(self.validator),
            sum(len(handle.module_names) for handle in self.trained.handles.values()),
            sum(p.numel() for p in self.trained.parameters), found.adapted, found.linear,
        )
        yield from self._prove(prove_coverage(found))
        if self.step and self.images.ends_epoch(self.step):  # the run may have been cancelled before they were judged
            yield from self.images.after_step(self.step)
        yield from self.team.led(self._prepare())
        if (share := self.team.largest(self.backbone.recompute)) > self.backbone.recompute:
            self.backbone.set_recompute(share)
        if self.config.fit_memory and self.backbone.recompute > self.run.recomputed:  # counted since RunStarted
            self.run.save_recomputed(self.backbone.recompute)
        if self.config.fit_memory and self.config.method == FULL and self.backbone.offload > self.run.offloaded:
            self.run.save_offloaded(self.backbone.offload)
        try:
            yield from self.team.led(self._prove_same_text())
            self._compile()
            while self.step < self.config.steps:
                yield from self.saver.retried(self.step + 1, self._train_step, self._undo_step)
                yield from self._done_steps(self.readings.lag)
                if self.compiled and (line := self.compiled.report(self.step)):
                    yield Warned(line)
                yield from self._after_step()
                if self.team.any(should_stop()):
                    break
            yield from self._done_steps()
            yield from map(Warned, filter(None, [found_rate_warning(self.optimizer)]))
        except BaseException as error:
            if not isinstance(error, Diverged):  # a diverged run keeps its last good state
                # a UserError often names already why nothing can be saved
                with contextlib.suppress(UserError) if isinstance(error, UserError) else contextlib.nullcontext():
                    self._keep()
            if is_out_of_memory(error):
                traceback.clear_frames(error.__traceback__)  # they hold the step's activations
                raise UserError(memory_advice(self.step + 1, self.config, self.run.folder,
                                              all_recomputed=self.backbone.recompute == 1)) from error
            if self.compiled and (problem := compile_problem(error)):
                raise UserError(problem) from error
            raise
        if self.team.writes:
            yield from self._finish()

    def _prepare(self) -> Events:
        """Encode what is left of the run: images, captions, and the prompts of its previews."""
        batches = range(self.step * self.config.accumulation_steps, self.config.steps * self.config.accumulation_steps)
        yield from self.feed.prepare(batches)
        yield from self.preservation.prepare(batches)
        yield from self.validator.prepare()
        prompts = list(self.config.preview_prompts) if self.config.preview_every else []
        if prompts and not self.feed.trains_text:
            self.backbone.remember_prompts(prompts, cfg=self.backbone.family.cfg,
                                           controls=self.feed.preview(len(prompts))[1])
        yield from map(Warned, tidy_cache(self.cache))

    def _compile(self) -> None:
        """Let blocks be compiled from here on. Raises UserError if they cannot be."""
        if self.config.compile:
            self.compiled = CompiledBlocks(self.backbone.network, self.backbone.device)
            self.compiling.enter_context(self.compiled.applied())

    def _train_step(self) -> None:
        """Have the device train a step. Whether it went well is known when its figures are read."""
        started, accumulation = time.perf_counter(), self.config.accumulation_steps
        first, preserves = self.step * accumulation, self.preservation.is_due(self.step)
        batches = range(first, first + accumulation)
        self._set_rates()
        with self.team.step(self.trained.parameters):
            losses = [self._train_batch(index, share, last=not preserves and index == batches[-1])
                      for index, share in zip(batches, self._shares(batches), strict=True)]
            if preserves and (share := self._shares(batches[-1:])[0]):  # reported is the loss of the images alone
                self._backward(partial(self.preservation.loss, self.step, share), 1, last=True)
            own = self.images.take()
        found = self.team.total(torch.cat([torch.stack(losses), *own]))
        figures = torch.cat([found[:accumulation], self._clip()[None], found[accumulation:]])
        self.guarded = self.scaler.is_enabled() or guard(self.optimizer, figures)
        self.readings.add(Queued(self.step + 1, self.feed.plan.epoch_of(first), self.optimizer.param_groups[0]["lr"],
                                 figures, started, sum(map(len, own))))
        self.consistent = False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.trained.limit()
        self.step += 1
        self.averages.update(self.step)
        self.consistent = True
        self.optimizer.zero_grad(set_to_none=True)

    def _train_batch(self, index: int, share: Share, last: bool) -> Tensor:
        """The loss that a share of a batch adds to that of the step."""
        if not share:
            return self._pass_over(index, share)
        return self._backward(partial(self._batch_loss, index, share), self.config.accumulation_steps, last)

    def _backward(self, make_loss: Callable[[], Tensor], parts: int, last: bool) -> Tensor:
        """A forward and a backward pass, perhaps the last of a step. Its loss, which is returned, is one of so many
        parts."""
        self.trained.expect(last)
        with self.backbone.step(), self.frozen.at_step(self.step):
            loss = make_loss() / parts
            self.scaler.scale(loss).backward()
        return loss.detach()

    def _shares(self, batches: range) -> list[Share]:
        """What this process trains of those batches."""
        return self.team.shares([len(self.feed.plan.batch(index)) for index in batches])

    def _pass_over(self, index: int, share: Share) -> Tensor:
        """The loss here of a batch that others train: 0. Its times are noted, as all processes judge images alike."""
        latents = self.feed.batch(index, replace(share, first=0, end=1)).latents
        t = draw_batch(self.loss, self.config.seed, index, (share.count, *latents.shape[1:])).t
        losses = torch.zeros(share.count, device=self.backbone.device)
        self.images.note(index, t, losses)
        return losses.sum()

    def _done_steps(self, left: int = 0) -> Events:
        """Report the steps in order, all but the last `left`. Nothing may be saved before the last is read.

        Raises Diverged for a step that did.
        """
        for done in self.readings.read(left):
            self._check(done)
            self._record(done)
            yield done
            if (share := self.watch.add(done.loss)) is not None:
                yield Warned(overfitting_advice(done.step, share, self.config))

    def _record(self, done: StepDone) -> None:
        self.run.append_metrics(
            {"step": done.step, "epoch": done.epoch, "loss": done.loss, "learning_rate": done.learning_rate,
             "grad_norm": done.grad_norm, "seconds": done.seconds}
        )
        self.images.record(done)

    def _check(self, done: StepDone) -> None:
        """Raises Diverged if the step did. The scaler of fp16 itself handles a norm that overflowed."""
        figures = {"loss": done.loss} if self.scaler.is_enabled() else {"loss": done.loss, "gradient": done.grad_norm}
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise Diverged(divergence_advice(name, figure, done.step, self.config, self.run.folder))

    def _settle(self) -> bool:
        """Read what is not read yet, without reporting it; whether the weights are those of `step`, and good. A step
        that diverged does not count if the optimizer left the weights as they were, and nothing was trained after it.
        """
        for done in self.readings.read():
            try:
                self._check(done)
            except Diverged:
                last, self.step = self.step <= done.step, min(self.step, done.step - 1)
                return last and self.guarded
            self._record(done)
        return True

    def _undo_step(self) -> bool:
        """Forget the gradients of a step that was broken off; false if it has begun to change the LoRA."""
        possible = self.consistent and not self.team.committed
        if possible:
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler = self._new_scaler(self.scaler.state_dict())  # the old one may have seen these gradients
        return possible

    def _batch_loss(self, index: int, share: Share) -> Tensor:
        """What a share of a batch adds to the batch's loss."""
        batch = self.feed.batch(index, share)
        draw = draw_batch(self.loss, self.config.seed, index, (share.count, *batch.latents.shape[1:]))
        losses = self.sample_losses(batch, share.of(draw.noise), share.of(draw.t), prior=self.config.data.masked_prior,
                                    added=share.of(draw.added))
        self.images.note(index, draw.t, share.spread(losses.detach()))
        return batch.weight * share.fraction * losses.mean()

    def sample_losses(self, batch: Batch, noise: Tensor, t: Tensor, prior: float = 0.0,
                      added: Tensor | None = None) -> Tensor:
        """The loss [B] of a batch at given noise and times (all on the CPU).

        `prior` is the weight of an extra term, for batches with masks, that keeps the surroundings as the base
        predicts them. `added` is what the latents are mixed with, if that is not the noise.
        """
        device = self.backbone.device
        latents, noise = to_device(batch.latents, device), to_device(noise, device)
        noisy = self.backbone.noised(latents, noise if added is None else to_device(added, device), t)
        if batch.masks is None:
            return self.loss.per_sample(self.predict(noisy, t, batch), latents, noise, t)
        masks, unmasked_weight = to_device(batch.masks, device), self.config.data.unmasked_weight
        base = self.base_prediction(noisy, t, batch) if prior and batch.masks.min() < 1 else None
        prediction = self.predict(noisy, t, batch)

        def mean(error: Tensor) -> Tensor:
            inside = masked_loss(error, masks, unmasked_weight)
            return inside if base is None else inside + masked_prior(prediction.float(), base.float(), masks, prior)

        return self.loss.per_sample(prediction, latents, noise, t, mean)

    def predict(self, noisy: Tensor, t: Tensor, batch: Batch) -> Tensor:
        with autocast(self.backbone.device, self.config.precision):
            return self.backbone.predict(noisy, t, self._conditioning(batch))

    @torch.no_grad()
    def base_prediction(self, noisy: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """What the base predicts for the same latents and captions, with its own text encoder, and with the LoRAs
        beside the training as far as they are on in this step."""
        with self._without_adapters():
            return self.predict(noisy, t, batch)

    @contextlib.contextmanager
    def _without_adapters(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for handle in self.trained.handles.values():
                stack.enter_context(handle.disabled())
            yield

    def _conditioning(self, batch: Batch) -> Conditioning:
        if batch.conditioning is None:
            return self.backbone.encode_text(batch.captions)
        return batch.conditioning

    # -- proofs --------------------------------------------------------------------------------------------------

    def _prove(self, proof: Proof) -> Events:
        """Record and report a proof. Raises UserError if it failed."""
        self.run.add_proof(proof)
        yield Proved(proof)
        if not proof.passed:
            raise UserError(proof.words)

    def _coverage(self) -> Coverage:
        """How much of the denoiser's blocks has a LoRA."""
        backbone = self.backbone
        adapted = self.trained.handles[backbone.network_prefix].module_names
        found = coverage(backbone.network, adapted, backbone.family.blocks, backbone.family.excluded)
        by_choice = layers_left_out((*adapted, *found.bare_attention), self.config.adapter.block_ranks)
        return replace(found, bare_attention=tuple(name for name in found.bare_attention if name not in by_choice))

    def _prove_same_text(self) -> Events:
        """What the cache holds of earlier runs is made anew if the proof fails by it alone."""
        proof, reused = self._compare_text(), self.cache.reused
        if not proof.passed and reused:
            self.cache.distrust()
            proof = self._compare_text()
        yield from self._prove(proof)
        if reused and not self.cache.trusted:
            yield Warned(f"what {self.cache.place} holds of earlier runs is not what this base makes of images and "
                         "captions now, so they are encoded anew.")
            yield from self._prepare()

    def _compare_text(self) -> Proof:
        with self._without_adapters(), self.frozen.off():
            proof, self.probe = prove_same_text(self.backbone, self.feed.proof_latents, self.feed.proof_captions,
                                                self._caption_conditioning, self.feed.controls(self.feed.first))
        return proof

    def _prove_file(self, path: Path) -> Events:
        """A file that fails stays where it is: the training is in it."""
        probe = self.probe

        def predict() -> Tensor:
            with torch.no_grad(), same_chance(self.backbone.device), self.frozen.off():
                return self.backbone.predict(probe.noisy, probe.t, self._caption_conditioning(probe.caption))

        try:
            with self.averages.shown(self.optimizer):
                proof = self.trained.prove(path, probe, predict, self.close)
        except RuntimeError as error:  # the training is done and saved
            proof = unproved(path, error)
        self.run.add_proof(proof)
        yield Proved(proof)
        if not proof.passed:
            yield Warned(proof.words)

    def _caption_conditioning(self, caption: str) -> Conditioning:
        """That of one caption, with the first control images, as `_conditioning` makes it in a step."""
        if self.feed.trains_text:
            return self.backbone.encode_text([caption])
        return self.feed.row(caption, self.feed.first).to(self.backbone.device)

    def _set_rates(self) -> None:
        settings = self.config.optimizer
        factor = rate_factor(
            settings.schedule, self.step, self.config.steps, settings.warmup_steps, settings.cycles
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
            if "rounded" in group:  # its own count includes a step that was left out
                group["rounded"] = self.step

    def _clip(self) -> Tensor:
        """Clip the gradients; returns their norm before that, on the device."""
        self.scaler.unscale_(self.optimizer)
        return self.trained.clip()

    def _cannot_undo(self) -> None:
        self.consistent = False

    # -- between steps -------------------------------------------------------------------------------------------

    def _after_step(self) -> Events:
        config, last = self.config, self.step == self.config.steps
        if self.images.ends_epoch(self.step):
            yield from self._done_steps()
            yield from self.images.after_step(self.step)
        if not self.team.writes:
            return
        if not last:  # a finished run needs no state
            yield from self._check_states()
        if config.validate_every and (self.step % config.validate_every == 0 or last) and len(self.validator):
            yield from self._done_steps()
            yield from self._spared("the validation", self._validate)
        if config.preview_every and (self.step % config.preview_every == 0 or last) and config.preview_prompts:
            yield from self._done_steps()
            yield from self._spared("the preview", self._preview)
        if not last and self._checkpoint_is_due():
            yield from self._done_steps()
            yield self._save_checkpoint()
        if not last and self._state_is_due():
            yield from self._done_steps()
            self.states.wait()
            yield from self._check_states()
            self.states.save(self._snapshot)

    def _check_states(self) -> Events:
        """Report a state that could not be written: the next one may be. Raises the error of a second in a row."""
        if error := self.states.take_error():
            if self.states.refused > 1 or not isinstance(error, UserError):
                raise error
            yield Warned(f"step {self.step}: the training state was not saved, and the training goes on without it: "
                         f"{error} If the next one cannot be saved either, the run ends.")

    def _spared(self, what: str, make: Callable[[], Event]) -> Events:
        """What is made, or a warning where memory runs out for it: the training needs neither."""
        try:
            with self.averages.shown(self.optimizer):
                made = make()
        except BaseException as error:
            if not is_out_of_memory(error):
                raise
            made = Warned(f"memory ran out for {what} at step {self.step}, so it was left out. The training goes on.")
        if isinstance(made, Warned):  # only here, where the error is gone, is its memory free
            release_memory()
        yield made

    def _validate(self) -> Event:
        validated = self.validator.measure(self.step)
        self.run.append_metrics(
            {"step": self.step, "validation_loss": validated.loss, "validation_base_loss": validated.base_loss,
             "validation_ratio": validated.ratio}
        )
        return validated

    def _checkpoint_is_due(self) -> bool:
        config, plan = self.config, self.feed.plan
        if config.save_every and self.step % config.save_every == 0:
            return True
        every, batches = config.save_every_epochs, self.step * config.accumulation_steps
        before = plan.epoch_of(batches - config.accumulation_steps)
        return bool(every) and plan.epoch_of(batches) // every > before // every  # a step may end several epochs

    def _state_is_due(self) -> bool:
        every, minutes = self.config.state_every, self.config.state_minutes
        return bool(every or minutes) and self.step % max(1, every) == 0 and self.states.is_due()

    def _preview(self) -> Previewed:
        prompts = list(self.config.preview_prompts)
        (width, height), controls = self.feed.preview(len(prompts))
        with torch.no_grad():
            pictures = self.backbone.generate(
                prompts, seeds=[derived_seed(self.config.seed, "preview", row) % 2**32 for row in range(len(prompts))],
                width=width, height=height, steps=self.backbone.family.sample_steps, cfg=self.backbone.family.cfg,
                controls=controls,
            )
        paths = []
        for row, pixels in enumerate(pictures):
            paths.append(self.run.samples_folder / f"step{self.step:06d}-{row:02d}.png")
            with atomic_path(paths[-1]) as temporary:
                to_image(pixels).save(temporary, format="PNG")
        return Previewed(self.step, tuple(paths))

    def _save_checkpoint(self, final: bool = False) -> CheckpointSaved:
        path = self.run.final_path if final else self.run.checkpoint_path(self.step)
        metadata = lora_metadata(
            self.config, self.backbone.family,
            base_fingerprint=self.backbone.fingerprint, dataset_fingerprint=self.dataset.fingerprint,
            tag_frequency=tag_frequency(sample.caption for sample in self.dataset),
            captions=[join_tags(add_trigger(split_tags(sample.caption), self.config.data.trigger))
                      for sample in self.dataset],
            image_count=len(self.dataset), lineage=self.run.lineage, step=self.step, started_at=self.started_at,
            epoch=self.feed.plan.epoch_of(self.step * self.config.accumulation_steps - 1),
            further=regularisation_metadata(self.regularisation, self.config),
        )
        with self.averages.shown(self.optimizer):
            self.trained.save(path, metadata)
        return CheckpointSaved(self.step, path)

    def _kept_tensors(self) -> dict[str, Tensor]:
        """What the training state holds beside the optimizer, not copied."""
        return {**self.trained.tensors(), **self.averages.tensors()}

    def _digest(self) -> str:
        return f"{self.step} {digest_tensors({name: held.cpu() for name, held in self._kept_tensors().items()})}"

    def _snapshot(self) -> checkpoint.Snapshot:
        return checkpoint.take_snapshot(self.step, self._kept_tensors(), self.optimizer,
                                        {"scaler": self.scaler.state_dict()})

    def _save_state(self) -> None:
        self.states.wait()
        self.states.take_error()  # a save that failed does not matter any more
        checkpoint.write_snapshot(self.run.state_path, self._snapshot())

    def _resume(self) -> int:
        """The step to continue from. A damaged state is put aside and reported, and the run starts again."""
        self._start_afresh()
        if not self.run.state_path.exists():
            if self.run.ended:
                self.run.keep_metrics()
            return 0
        try:
            return checkpoint.resume(self.run.state_path, self._kept_tensors(), self.optimizer, self.scaler,
                                     self.config.steps)
        except checkpoint.DamagedState as error:
            self.notes += (str(error),)
            self.run.put_state_aside()
            self._start_afresh()
            return 0

    def _start_afresh(self) -> None:
        self.optimizer = self.trained.new_optimizer()
        self.scaler = self._new_scaler()
        self.averages.restart()

    def _new_scaler(self, state: dict[str, Any] | None = None) -> torch.amp.GradScaler:
        scaler = torch.amp.GradScaler(self.backbone.device.type, enabled=self.config.precision == "fp16")
        if state:
            scaler.load_state_dict(state)
        # it gets its scale with its first loss, but a process may have no image in the first step
        scaler.scale(torch.zeros((), device=self.backbone.device))
        return scaler

    def _keep(self) -> None:
        """Save the LoRA of an interrupted run as it is, and the state to continue from."""
        if self.team.writes and self.consistent and self._settle() and self.step:
            try:
                self._save_state()
            finally:  # a disk may have room for it all the same
                self._save_checkpoint()

    def _finish(self) -> Events:
        stopped = self.step < self.config.steps
        self.states.wait()
        saved = self._save_checkpoint(final=not stopped)
        if stopped:
            self._save_state()
        self.run.mark_finished(self.step, stopped)
        yield saved
        if error := self.states.take_error():  # too late to stop for it
            yield Warned(str(error))
        yield from self._prove_file(saved.path)
        yield from self.images.report()
        yield Finished(self.step, saved.path, stopped=stopped)


def _as_validation(dataset: Dataset, config: TrainConfig) -> tuple[Dataset, TrainConfig]:
    """The validation set as the feed should read it: every image once, with images and captions unaltered."""
    plain = {"data.shuffle_captions": False, "data.tag_dropout": 0.0, "data.caption_dropout": 0.0, "data.flip": False}
    return dataset.with_repeats(1), config.replace(**plain)
