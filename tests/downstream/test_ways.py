"""Probes, k-NN, fine-tuning and zero-shot on chains whose letters tell their class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from downstream.released import write_fold, write_nrpdb
from torch.nn.functional import binary_cross_entropy, cross_entropy

from setclip.downstream import finetune
from setclip.downstream.finetune import Classification, Classifier, FineTuning, fine_tune
from setclip.downstream.models import open_model
from setclip.downstream.tasks import read_task
from setclip.downstream.ways import ask, prior
from setclip.encoders import open_backbone
from setclip.encoders.choices import parsed
from setclip.evaluation import fmax
from setclip.model import AlignedModel, HeadSpec, ModelCard, Tower
from setclip.training.journal import Journal

SEQUENCES = {"kind": "protein-transformer", "width": 16, "layers": 1, "heads": 2}
STRUCTURES = {"kind": "cdconv"}
BRIEF = FineTuning(steps=40, batch=8, checks=4, lr=1e-2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    return read_task(write_fold(tmp_path_factory.mktemp("fold"), train=24), "fold")


@pytest.fixture(scope="module")
def ec(tmp_path_factory):
    return read_task(write_nrpdb(tmp_path_factory.mktemp("nrpdb"), train=24), "ec")


def aligned(folder: Path) -> Path:
    """A run with encoders of both sides, random as they are."""
    backbones = [open_backbone(parsed(o), seed=3) for o in (SEQUENCES, STRUCTURES)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        towers = [Tower(HeadSpec("linear", backbone.dim, 8)) for backbone in backbones]
    card = ModelCard(x_encoder=SEQUENCES, y_encoder=STRUCTURES)
    AlignedModel(*towers, card, x_backbone=backbones[0], y_backbone=backbones[1]).save(folder)
    return folder


@pytest.mark.parametrize("way", ["probe", "knn"])
def test_composition_tells_classes_and_terms_by_their_letters(fold, ec, way):
    for task, floor in ((fold, 34), (ec, 80)):
        answer = ask(way, open_model("composition"), task)
        main = next(iter(task.tests))
        assert prior(task)[main] < floor < answer.value(main) == 100
        assert answer.of(main) is not None


def test_the_floor_of_terms_is_their_share(ec):
    shares = ec.labels[ec.train].mean(axis=0)
    for test, rows in ec.tests.items():
        expected = fmax(np.tile(shares, (len(rows), 1)), ec.labels[rows]).value
        assert prior(ec)[test] == pytest.approx(100 * expected)


def test_fine_tuning_learns_what_the_letters_tell(fold, ec):
    for task in (fold, ec):
        asked = open_model(str(SEQUENCES))
        before = asked.fresh().network.state_dict()
        journal = Journal()
        answer = ask("finetune", asked, task, options=BRIEF, journal=journal)
        main = next(iter(task.tests))
        assert answer.value(main) > prior(task)[main] + 15
        assert "was best on the validation part" in journal.notes[0]
        assert task.measure in journal.curves["fine-tuning"]
        after = asked.fresh().network.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("stop", [7, 10])
def test_a_killed_fine_tuning_ends_where_another_does(fold, tmp_path, stop):
    few = replace(fold, tests={"test_fold": fold.tests["test_fold"]})
    options = FineTuning(steps=12, batch=6, checks=4)

    def go(journal: Journal):
        backbone = open_backbone(parsed({**STRUCTURES, "train_norms": True}), seed=1)
        return fine_tune(backbone, few, options, seed=1, journal=journal)

    whole = go(Journal())

    class KilledError(Exception):
        pass

    killed = Journal(tmp_path, checkpoint_every=2)
    log = killed.log

    def until(phase, step, values):
        if step == stop:
            raise KilledError
        log(phase, step, values)

    killed.log = until
    with pytest.raises(KilledError):
        go(killed)
    np.testing.assert_array_equal(go(Journal(tmp_path, checkpoint_every=2)), whole)
    with pytest.raises(ValueError, match="under another configuration"):
        fine_tune(
            open_backbone(parsed(STRUCTURES)), few, FineTuning(steps=9), journal=Journal(tmp_path)
        )


def test_asked_weights_have_the_statistics_of_the_chains_that_teach(fold):
    backbone = open_backbone(parsed({**STRUCTURES, "train_norms": True}))
    classifier = Classifier(backbone.network, 256, torch.full((3,), 1 / 3), single=True)
    finetune._calibrate(classifier, backbone, fold)
    assert not any(module.training for module in classifier.modules())
    first, second = classifier.head[0], classifier.head[4]
    assert (first.momentum, second.momentum) == (0.1, 0.1)
    inner = next(m for m in classifier.encoder.modules() if isinstance(m, torch.nn.BatchNorm1d))
    assert inner.momentum == 0.2
    items = [backbone.prepare(fold.structures[row]) for row in fold.train]
    with torch.no_grad():
        features = classifier.encoder(backbone.collate(items))
        hidden = classifier.head[:4](features)
    torch.testing.assert_close(first.running_mean, features.mean(dim=0), rtol=1e-3, atol=1e-4)
    # The norm before divided by the deviation of a batch, which is not that of its estimate.
    torch.testing.assert_close(second.running_mean, hidden.mean(dim=0), rtol=0.05, atol=0.02)
    # Features as they are when asked: in batches of their own they are others.
    norms = [m for m in classifier.encoder.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.train()
    with torch.no_grad():
        other = classifier.encoder(backbone.collate(items[:3]))
    assert (other - features[:3]).abs().max() > 1e-3


def test_losses_are_the_published_ones():
    shares = torch.tensor([0.5, 0.25])
    classifier = Classifier(torch.nn.Identity(), 4, shares, single=False)
    torch.testing.assert_close(classifier.head[-1].bias.sigmoid(), shares)
    logits = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
    weights = 5 / labels.sum(dim=0)
    expected = (weights * binary_cross_entropy(logits.sigmoid(), labels, reduction="none")).mean()
    torch.testing.assert_close(Classification(classifier, weights).loss(logits, labels), expected)
    one = Classification(classifier, None)
    codes = torch.tensor([0, 1, 1, 0, 0])
    told = torch.nn.functional.one_hot(codes, 2).float()
    torch.testing.assert_close(one.loss(logits, told), cross_entropy(logits, codes))
    assert list(one.parameters()) == []


def test_the_published_schedule(fold, ec):
    paper = FineTuning(recipe="paper")
    schedule, batch = paper.schedule(fold)  # 24 chains, eight a step
    assert (schedule.steps, batch, schedule.check_every) == (1200, 8, 3)
    assert (schedule.milestones, schedule.optimiser) == ((300, 900), "sgd")
    assert (schedule.lr, schedule.weight_decay, schedule.max_norm) == (1e-3, 5e-4, 10.0)
    few = replace(ec, train=ec.train[:20])
    schedule, batch = paper.schedule(few)
    assert (schedule.steps, batch, schedule.milestones) == (500, 20, (300, 400))
    assert FineTuning(steps=10, checks=3).schedule(fold)[0].check_every == 4


def test_a_run_is_asked_by_either_side_and_across(fold, ec, tmp_path):
    folder = aligned(tmp_path / "run")
    structure, sequence = open_model(str(folder)), open_model(f"{folder}#sequence")
    assert (structure.reads, sequence.reads) == ("structure", "sequence")
    model = AlignedModel.load(folder)
    for asked, encode, items in (
        (sequence, model.encode_x, fold.sequences),
        (structure, model.encode_y, fold.structures),
    ):
        np.testing.assert_allclose(asked.embeddings(items[:5]), encode(list(items[:5])), atol=1e-5)
    # Where both sides are one, the nearest of the other side is the nearest of one's own.
    zs = [sequence.embeddings(fold.sequences), structure.embeddings(fold.structures)]
    answer = ask("sequence-to-structure", structure, fold)
    nearest = (zs[0][fold.test] @ zs[1][fold.train].T).argmax(axis=1)
    expected = fold.codes[fold.train][nearest] == fold.codes[fold.test]
    np.testing.assert_array_equal(answer.credits, expected)
    back = ask("structure-to-sequence", sequence, ec)
    nearest = (structure.embeddings([ec.structures[r] for r in ec.test])) @ (
        sequence.embeddings([ec.sequences[r] for r in ec.train]).T
    )
    scores = ec.labels[ec.train][nearest.argmax(axis=1)]
    assert back.counts.fmax == fmax(scores, ec.labels[ec.test])
    # Fine-tuning starts from the run's weights.
    ours, theirs = sequence.fresh().network.state_dict(), model.x_backbone.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_random_weights_follow_the_seed_and_their_names_tell_them_apart():
    described = "{kind: protein-transformer, width: 16}"
    prints = [open_model(described, seed=seed).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    types = [open_model(f"{{kind: cdconv, types: {t}}}").fingerprint for t in ("true", "false")]
    assert types[0] != types[1]


def test_what_cannot_be_asked(fold, tmp_path):
    composition = open_model("composition")
    with pytest.raises(ValueError, match="composition has no weights to train"):
        ask("finetune", composition, fold)
    with pytest.raises(ValueError, match="composition has no partner"):
        ask("sequence-to-structure", composition, fold)
    with pytest.raises(ValueError, match="neither the folder of a run"):
        open_model("runs/nowhere")
    with pytest.raises(ValueError, match="minilm-l6 reads texts"):
        open_model("minilm-l6")
    folder = aligned(tmp_path / "run")
    with pytest.raises(ValueError, match="has no encoder of images: it reads sequence and struct"):
        open_model(f"{folder}#image")
    heads = [Tower(HeadSpec("linear", 4, 8)) for _ in range(2)]
    AlignedModel(*heads).save(tmp_path / "features")
    with pytest.raises(ValueError, match="fitted on ready features and knows no encoder"):
        open_model(str(tmp_path / "features"))
    card = ModelCard(x_encoder="composition", y_encoder=STRUCTURES)
    AlignedModel(heads[0], heads[1], card).save(tmp_path / "frozen")
    frozen = open_model(str(tmp_path / "frozen"))
    assert frozen.partner.fresh is None
    bad = replace(fold, structures=[b"no chain"] * len(fold.sequences))
    with pytest.raises(ValueError, match=r"cdconv cannot read 24 of 24 chains, the first is row"):
        ask("knn", frozen, bad)
    module = {"kind": "module", "target": "os:getcwd", "modality": "text"}
    AlignedModel(*heads, ModelCard(x_encoder=module, y_encoder=STRUCTURES)).save(tmp_path / "code")
    with pytest.raises(ValueError, match="reads texts"):
        open_model(str(tmp_path / "code"))
