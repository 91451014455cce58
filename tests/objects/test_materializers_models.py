"""Models: what they compute stays the same, and no file of theirs runs anything."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from folder_payload import FolderPayload, store, stored, there_and_back
from onnx import helper, numpy_helper
from safetensors.torch import load_file
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from prefect_registry.errors import ConfigurationError, FormatError, InvalidInput
from prefect_registry.objects.materializers.registered import Materializers
from prefect_registry.objects.materializers.torch_modules import ModuleMaterializer

TENSORS = {
    "float": torch.tensor([[1.5, float("nan")], [-0.0, 2]]),
    "transposed": torch.arange(6).reshape(2, 3).t(),
    "sliced": torch.arange(10)[::3],
    "zero-d": torch.tensor(3, dtype=torch.int8),
    "empty": torch.zeros(0, 3),
    "bool": torch.tensor([True, False]),
    "bfloat16": torch.tensor([1.5, -2], dtype=torch.bfloat16),
    "half": torch.tensor([1.5], dtype=torch.float16),
    "float8": torch.ones(2, dtype=torch.float8_e4m3fn),
    "complex64": torch.tensor([1 + 2j]),
    "uint16": torch.tensor([65535], dtype=torch.uint16),
    "grad": torch.ones(2, requires_grad=True),
    "parameter": torch.nn.Parameter(torch.ones(2), requires_grad=False),
}


def bits(tensor: Any) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
def test_tensors_come_back(tensor: Any) -> None:
    """Class, type, shape, every bit, and whether they want gradients."""
    for lazy in (False, True):
        back = there_and_back(Materializers(), tensor, lazy=lazy)
        assert (type(back), back.dtype, back.shape) == (type(tensor), tensor.dtype, tensor.shape)
        assert (bits(back), back.requires_grad) == (bits(tensor), tensor.requires_grad)


def test_state_dicts_are_one_file_that_others_read() -> None:
    """With their metadata, in their order; tensors that are one memory are stored once and are one again."""
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    state["tied"] = state["0.weight"]
    name, payload = stored(Materializers(), state)
    back = Materializers().named(name).load(payload)
    assert (type(back), list(back), back._metadata) == (OrderedDict, list(state), state._metadata)
    assert all(bits(back[k]) == bits(state[k]) for k in state)
    assert back["tied"] is back["0.weight"]
    written = load_file(payload.local("tensors.safetensors"))
    assert written.keys() == state.keys() - {"tied"}
    assert all(torch.equal(written[k], state[k]) for k in written)
    back = there_and_back(Materializers(), {"epoch": 3, "model": {"w": torch.ones(2)}, "loss": torch.tensor(0.5)})
    assert (back["epoch"], back["model"]["w"].tolist(), back["loss"].item()) == (3, [1, 1], 0.5)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (torch.tensor([1j], dtype=torch.complex128), "no form for torch.complex128"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.ones(2, device="meta"), "without memory"),
        (torch.ones(2, requires_grad=True) * 2, r"save tensor\.detach\(\)"),
        ({"a": torch.ones(2), "b": torch.ones(2).to_sparse()}, "b: it is sparse"),
        ({"__metadata__": torch.ones(2)}, "the key '__metadata__'"),
        ({"\ud800": torch.ones(2)}, r"the key '\\ud800'"),
    ],
)
def test_what_safetensors_has_no_form_for_is_refused(value: Any, why: str) -> None:
    """It says which one, and why."""
    with pytest.raises(InvalidInput, match=f"(?i){why}"):
        stored(Materializers(), value)


def test_one_memory_that_wants_gradients_and_does_not() -> None:
    """Each view of it as it was, in either order."""
    one = torch.ones(2, requires_grad=True)
    for value in ({"a": one, "b": one.detach()}, {"a": one.detach(), "b": one}):
        back = there_and_back(Materializers(), value)
        assert {k: v.requires_grad for k, v in back.items()} == {k: v.requires_grad for k, v in value.items()}


class Net(torch.nn.Module):
    def __init__(self, hidden: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(3, hidden)
        self.dropout = torch.nn.Dropout(dropout)
        self.outer = torch.nn.Linear(hidden, 3)
        self.outer.weight = torch.nn.Parameter(self.inner.weight.detach().t().clone())
        self.again = self.inner.weight
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.outer(self.dropout(self.inner(x))) * self.scale


def test_modules_come_back() -> None:
    """Numbers, buffers that no state dict has, ties, what is frozen and what is in training."""
    net = Net()
    net.scale += 2
    net.inner.bias.requires_grad_(False)
    net.inner.eval()
    state = torch.get_rng_state()
    reader = Materializers()
    reader.register(Net)
    back = there_and_back(Materializers(), net, reader=reader)
    assert torch.equal(torch.get_rng_state(), state)
    assert (back.inner.training, back.dropout.training) == (False, True)
    assert (back.inner.bias.requires_grad, back.again is back.inner.weight) == (False, True)
    x = torch.ones(2, 3)
    torch.testing.assert_close(back.eval()(x), net.eval()(x))


def test_a_module_is_made_with_the_arguments_that_were_given() -> None:
    """They are recorded; without them what would differ is named, and nothing is saved."""
    net, both = Net(8, dropout=0.5).eval(), Materializers()
    with pytest.raises(InvalidInput, match=r"inner\.weight would be .*materializer=ModuleMaterializer\(arguments="):
        stored(both, net)
    with pytest.raises(InvalidInput, match=r"dropout\.p would differ"):
        stored(both, Net(dropout=0.5))
    found = both.find(net, materializer=ModuleMaterializer(arguments={"hidden": 8, "dropout": 0.5}))
    payload = found.save(net)
    assert payload.init["arguments"] == {"hidden": 8, "dropout": 0.5}


class Speaking(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(2, 2)
        self.words: dict[str, list[int]] = {"a": [1]}
        self._seen: set[str] = set()
        self.choose = lambda word: len(word)
        self.bins = np.arange(3.0)
        self.inner: list[Any] = [torch.nn.Linear(1, 1, bias=False)]
        torch.nn.init.ones_(self.inner[0].weight)
        self.me = [self]


def test_what_a_module_has_learnt_beside_numbers_is_not_lost() -> None:
    """Words, settings, functions and modules that lie in attributes: refused if its class would not make the same."""
    assert type(there_and_back(Materializers(), Speaking())) is Speaking
    for name, change in {
        "words": lambda m: m.words["a"].append(2),
        "_seen": lambda m: m._seen.add("a"),
        "choose": lambda m: setattr(m, "choose", lambda word: 0),
        "bins": lambda m: m.bins.__setitem__(0, 5),
        "inner": lambda m: m.inner[0].weight.data.fill_(2),
        "_loose": lambda m: setattr(m, "_loose", torch.ones(1)),
        "lstm.forward": lambda m: setattr(m.lstm, "forward", m.forward),
    }.items():
        changed = Speaking()
        change(changed)
        with pytest.raises(InvalidInput, match=rf"would not make it again: (.*; )?{name} would differ"):
            stored(Materializers(), changed)


def test_modules_of_other_classes_are_refused(tmp_path: Path) -> None:
    """Those that need arguments, that were put together by hand, or have hooks; and, on loading, unregistered ones."""
    hooked = Net()
    hooked.inner.register_forward_hook(lambda *_: None)
    for value, why in [
        (torch.nn.Linear(2, 3), "missing 2 required positional arguments"),
        (torch.nn.Sequential(torch.nn.Linear(2, 2)), "0.weight would be None"),
        (hooked, "'inner' has hooks"),
    ]:
        with pytest.raises(InvalidInput, match=why):
            stored(Materializers(), value)
    both = Materializers()
    linear = torch.nn.Linear(2, 3)
    found = both.find(linear, materializer=ModuleMaterializer(arguments={"in_features": 2, "out_features": 3}))
    payload = store(found.save(linear), tmp_path / "o")
    assert torch.equal(both.named("torch.module").load(payload).weight, linear.weight)
    with pytest.raises(ConfigurationError, match="register_materializer"):
        Materializers().named("torch.module").load(payload)


def onnx_model() -> Any:
    weight = numpy_helper.from_array(np.ones((2, 2), "f4"), "w")
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 2]) for name in "xy"]
    return helper.make_model(
        helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weight])
    )


def test_onnx_models_come_back() -> None:
    """As the file that a runtime reads; a model of which a part lies elsewhere is refused."""
    model = onnx_model()
    name, payload = stored(Materializers(), model)
    assert Materializers().named(name).load(payload) == model
    assert onnx.load(payload.local("model.onnx")) == model
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    with pytest.raises(InvalidInput, match="The numbers of w lie in other files"):
        stored(Materializers(), model)
    payload.local("model.onnx").write_bytes(b"\xff\xff")
    with pytest.raises(FormatError):
        Materializers().named(name).load(payload)


class Doubling(BaseEstimator):
    def __init__(self, by: int = 2) -> None:
        self.by = by


def test_estimators_predict_the_same() -> None:
    """A pipeline, fitted."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, x[:, 0] > 0)
    back = there_and_back(Materializers(), model)
    assert type(back) is type(model)
    assert np.array_equal(back.predict_proba(x), model.predict_proba(x))


def test_types_that_skops_does_not_trust_must_be_registered() -> None:
    """They are named, on saving and on loading; a class that was registered is trusted, a function never."""
    writer = Materializers()
    with pytest.raises(InvalidInput, match=f"It holds {re.escape(__name__)}.Doubling, which skops does not trust"):
        stored(writer, Doubling())
    writer.register(Doubling)
    assert there_and_back(writer, Doubling(3)).by == 3
    with pytest.raises(ConfigurationError, match="Doubling, which are not trusted here"):
        there_and_back(writer, Doubling(3), reader=Materializers())
    with pytest.raises(InvalidInput, match="lambda"):
        stored(writer, FunctionTransformer(lambda x: x))


def test_another_version_of_scikit_learn_is_told() -> None:
    """The estimator loads, with a warning that names both."""
    name, payload = stored(Materializers(), StandardScaler())
    payload.init = {"sklearn": "0.1"}
    with pytest.warns(UserWarning, match=r"scikit-learn 0\.1 has saved"):
        assert isinstance(Materializers().named(name).load(payload), StandardScaler)


@pytest.fixture(scope="module")
def transformers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        transformers.utils.logging.disable_progress_bar()
        return transformers


@pytest.fixture(scope="module")
def bert(transformers: Any) -> Any:
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9
    )
    return transformers.BertForSequenceClassification(config).eval()


def test_models_of_transformers_come_back(transformers: Any, bert: Any) -> None:
    """By the class that saved them, from files in safetensors, frozen and in training as they were."""
    bert.bert.embeddings.requires_grad_(False)
    bert.dropout.train()
    name, payload = stored(Materializers(), bert)
    assert payload.paths() == ["config.json", "model.safetensors", "prefect-registry.json"]
    back = Materializers().named(name).load(payload)
    assert type(back) is transformers.BertForSequenceClassification
    assert all(bits(a) == bits(b) for a, b in zip(back.state_dict().values(), bert.state_dict().values(), strict=True))
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in bert.parameters()]
    assert [m.training for m in back.modules()] == [m.training for m in bert.modules()]
    assert back.config.to_dict() == bert.config.to_dict()
    half = there_and_back(Materializers(), transformers.BertModel(bert.config).to(torch.bfloat16))
    assert half.dtype is torch.bfloat16


def test_a_model_of_transformers_that_was_changed_is_refused(transformers: Any, bert: Any) -> None:
    """What its config does not say would be lost, or could not be loaded at all: each is named."""

    def changed(change: Any) -> Any:
        made = type(bert)(copy.deepcopy(bert.config))
        change(made)
        return made

    for change, why in (
        (lambda m: m.add_module("extra", torch.nn.Linear(2, 2)), "the module 'extra' would be a NoneType"),
        (lambda m: setattr(m.bert.pooler, "dense", torch.nn.Linear(8, 4)), r"pooler\.dense\.weight would be \(8, 8\)"),
        (lambda m: setattr(m.bert.pooler, "activation", torch.nn.ReLU()), "'bert.pooler.activation' would be a Tanh"),
        (lambda m: m.bert.pooler.half(), r"are torch\.float16, torch\.float32, and would be of one type"),
        (lambda m: m.bert.pooler.register_forward_hook(lambda *_: None), "'bert.pooler' has hooks"),
    ):
        with pytest.raises(InvalidInput, match=f"would not make it again from its config: .*{why}"):
            stored(Materializers(), changed(change))
    for change in (lambda m: m.half(), lambda m: m.resize_token_embeddings(12), lambda m: m.to(torch.bfloat16)):
        model = changed(change)
        back = there_and_back(Materializers(), model)
        assert {n: (t.dtype, bits(t)) for n, t in back.state_dict().items()} == {
            n: (t.dtype, bits(t)) for n, t in model.state_dict().items()
        }


def test_tokenizers_and_configurations_come_back(transformers: Any, bert: Any) -> None:
    """They give the same tokens, and the same settings."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    back = there_and_back(Materializers(), tokenizer)
    assert type(back) is type(tokenizer)
    assert back("a c b")["input_ids"] == tokenizer("a c b")["input_ids"] == [1, 0, 2]
    config = there_and_back(Materializers(), bert.config)
    assert (type(config), config.to_dict()) == (type(bert.config), bert.config.to_dict())


def test_a_folder_with_code_is_never_loaded(transformers: Any, bert: Any) -> None:
    """Neither Python nor a pickle, nor a class that transformers does not have."""
    name, payload = stored(Materializers(), bert.config)
    for kind, key in [
        ("config", "transformers:os"),
        ("config", "transformers:BertModel"),
        ("other", "transformers:BertConfig"),
    ]:
        payload.init = {"kind": kind, "class": key}
        with pytest.raises(ConfigurationError, match="which this version of transformers"):
            Materializers().named(name).load(payload)
    payload.init = {"kind": "config", "class": "os:system"}
    with pytest.raises(ConfigurationError, match="which is not registered here"):
        Materializers().named(name).load(payload)
    (payload.folder / "modeling.py").write_text("")
    payload.init = {"kind": "config", "class": "transformers:BertConfig"}
    with pytest.raises(FormatError, match=r"modeling\.py, which may run code"):
        Materializers().named(name).load(payload)


def test_datasets_of_hugging_face_come_back(transformers: Any, tmp_path: Path) -> None:
    """Rows, features and splits; a stream is refused."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"a": [1, 2], "b": ["x", None]})
    back = there_and_back(Materializers(), rows)
    assert (type(back), back.features, back.to_list()) == (datasets.Dataset, rows.features, rows.to_list())
    splits = there_and_back(Materializers(), datasets.DatasetDict(train=rows, test=rows))
    assert {k: v.to_list() for k, v in splits.items()} == dict.fromkeys(("train", "test"), rows.to_list())
    with pytest.raises(InvalidInput, match="It is a stream"):
        stored(Materializers(), rows.to_iterable_dataset())


def test_datasets_of_hugging_face_without_rows_come_back(transformers: Any) -> None:
    """By themselves and as a split; those that could not be read again are refused."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"a": [1, 2]}, split="train")
    empty = rows.filter(lambda row: row["a"] > 5)
    for value in (empty, datasets.DatasetDict(none=empty, some=rows)):
        back = there_and_back(Materializers(), value)
        assert type(back) is type(value)
        for one, other in zip(*(v.values() if isinstance(v, dict) else [v] for v in (back, value)), strict=True):
            assert (one.features, one.to_list(), one.split) == (other.features, other.to_list(), other.split)
    for refused, why in (
        (rows.with_transform(lambda batch: batch), "A function changes its rows"),
        (datasets.DatasetDict(a=datasets.Dataset.from_dict({})), "It has no columns"),
    ):
        with pytest.raises(InvalidInput, match=why):
            stored(Materializers(), refused)


def test_a_damaged_file_of_tensors_is_a_format_error(tmp_path: Path) -> None:
    """Shorter than its header says."""
    name, payload = stored(Materializers(), torch.ones(3))
    file = payload.local("tensors.safetensors")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(FormatError):
        Materializers().named(name).load(FolderPayload(payload.folder, payload.init))
