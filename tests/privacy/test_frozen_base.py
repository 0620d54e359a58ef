"""Large models of which little is trained: what is trained, where the rest comes from, and what a base must be."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load

from privacy import training
from privacy.architectures import ModelError, Transformer
from privacy.frozen_base import FrozenBase
from privacy.models import (
    ModelSpec,
    check_base,
    from_safetensors,
    initial_parameters,
    parameter_count,
    predict,
    tensor_shapes,
    to_safetensors,
)
from privacy.training import train_plain, train_round
from tests.support.architectures import SIGNAL, VISITS, based, parameters, patients, write_base
from tests.support.noise_sources import Silent

DIGEST = "0" * 64


def test_only_named_layers_and_adapters_are_trained(tmp_path) -> None:
    assert list(tensor_shapes(based(VISITS, tmp_path, ("output",)))) == ["output.weight", "output.bias"]
    names = list(tensor_shapes(based(VISITS, tmp_path, ("blocks.1.query", "output"), 2)))
    assert names == [
        *(f"blocks.0.{part}.{factor}.weight" for part in ("query", "value") for factor in ("down", "up")),
        *("blocks.1.query.weight", "blocks.1.query.bias", "blocks.1.query.down.weight", "blocks.1.query.up.weight"),
        *("blocks.1.value.down.weight", "blocks.1.value.up.weight", "output.weight", "output.bias"),
    ]


def test_adapters_change_nothing_at_first(tmp_path) -> None:
    inputs, _ = patients(VISITS, 6)
    plain, adapted = based(VISITS, tmp_path, ("output",)), based(VISITS, tmp_path, ("output",), 3)
    start = initial_parameters(adapted, seed=1)
    assert predict(adapted, start, inputs).tolist() == predict(plain, initial_parameters(plain, seed=1), inputs).tolist()
    assert predict(adapted, start + 0.1, inputs) != pytest.approx(predict(adapted, start, inputs))


def test_trained_layers_start_from_the_base_where_it_has_them(tmp_path) -> None:
    spec = based(VISITS, tmp_path, ("output",))
    assert spec.base is not None and spec.base.file is not None
    file = load(spec.base.file.read_bytes())
    assert initial_parameters(spec, seed=1) == pytest.approx(np.r_[file["output.weight"].ravel(), file["output.bias"]])
    other = based(VISITS, tmp_path, ("embedding",), embedding__weight=np.zeros((8, 9), dtype=np.float32))
    assert np.abs(initial_parameters(other, seed=1)[:32]).max() <= 0.5  # 1 / sqrt(4 channels): of another data set's inputs nothing is left


def test_a_model_file_of_this_product_is_a_base(tmp_path) -> None:
    """In double precision, with a normalisation's tensors or none: what a first task trained, a second one goes on from."""
    vector = parameters(VISITS)
    digest, file = write_base(tmp_path, load(to_safetensors(VISITS, vector, {})))
    spec = replace(VISITS, base=FrozenBase(digest, ("output",), 0, file))
    inputs, _ = patients(VISITS, 6)
    assert predict(spec, initial_parameters(spec, seed=0), inputs) == pytest.approx(predict(VISITS, vector, inputs), abs=1e-5)


def test_training_leaves_the_base_as_it_is(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PLAIN_STEPS", 5)
    spec = based(VISITS, tmp_path, ("output",), 2)
    inputs, labels = patients(spec, 30)
    start = initial_parameters(spec, seed=0)
    before = predict(spec, start, inputs)
    for _ in range(2):
        train_round(
            spec,
            start,
            inputs,
            labels,
            clip=1.0,
            noise_multiplier=1.0,
            sampling_rate=1.0,
            local_steps=3,
            learning_rate=1.0,
            noise=Silent(),
            sampler=Silent(),
        )
        train_plain(spec, inputs, labels)
    assert np.array_equal(predict(spec, start, inputs), before)


def test_a_file_says_on_which_base_it_rests_and_names_no_path(tmp_path) -> None:
    spec = based(VISITS, tmp_path, ("output",), 2)
    data = to_safetensors(spec, parameters(spec), {})
    assert str(tmp_path).encode() not in data
    read, vector, _ = from_safetensors(data)
    assert read == spec and read.base is not None and read.base.file is None and np.array_equal(vector, parameters(spec))
    with pytest.raises(ModelError, match="not at hand"):
        predict(read, vector, patients(spec, 1)[0])


def test_a_hundred_million_parameters_are_trained_by_an_update_of_less_than_a_million() -> None:
    """Sizes are known without the file and without torch's memory."""
    shape = Transformer(steps=32, channels=20, dimension=1024, heads=16, blocks=8)
    spec = ModelSpec("transformer", 640, architecture=shape, base=FrozenBase(DIGEST, ("output",), 8))
    whole = sum(int(np.prod(each)) for each in shape.shapes(0).values())
    assert whole > 100_000_000 and parameter_count(spec) == 8 * 2 * 2 * 8 * 1024 + 1025 < 1_000_000


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        (lambda: FrozenBase("abc", ("output",)), "SHA-256"),
        (lambda: FrozenBase("A" * 64, ("output",)), "SHA-256"),
        (lambda: FrozenBase(DIGEST, ("output",), 65), "rank of adapters"),
        (lambda: replace(VISITS, base=FrozenBase(DIGEST, ("outpu",))), "no layer 'outpu'"),
        (lambda: replace(VISITS, base=FrozenBase(DIGEST, ())), "has 0 parameters"),
        (lambda: replace(SIGNAL, base=FrozenBase(DIGEST, ("output",), 2)), "adapters belong to a transformer"),
        (lambda: ModelSpec("transformer", 4, architecture=Transformer(1, 4, 1024, 1, 24), base=FrozenBase(DIGEST, ("output",))), "frozen"),
    ],
)
def test_impossible_divisions_are_refused(base, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        base()


def test_bases_that_are_not_the_one_are_refused(tmp_path) -> None:
    spec = based(VISITS, tmp_path, ("output",))
    assert spec.base is not None and spec.base.file is not None
    check_base(spec)

    def with_file(content: bytes | None, digest: str | None = None) -> ModelSpec:
        file = tmp_path / f"other-{len(content or b'')}"
        if content is not None:
            file.write_bytes(content)
        return replace(spec, base=replace(spec.base, file=file, digest=digest or spec.base.digest))

    with pytest.raises(ModelError, match="cannot read the base"):
        check_base(with_file(None))
    with pytest.raises(ModelError, match="has the digest"):
        check_base(with_file(b"something else"))
    junk = b"\x80\x04junk"
    with pytest.raises(ModelError, match="not a safetensors file"):
        check_base(with_file(junk, hashlib.sha256(junk).hexdigest()))


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [(None, "has none"), (np.zeros((3, 3), dtype=np.float32), r"has it as \(3, 3\)"), (np.zeros((8, 8), dtype=np.int64), "floating-point")],
)
def test_bases_that_do_not_fit_are_refused(tensor, sentence: str, tmp_path) -> None:
    with pytest.raises(ModelError, match=sentence):
        check_base(based(VISITS, tmp_path, ("output",), blocks__1__key__weight=tensor))
