"""What objects show of themselves: a line in a console, a table in a notebook."""

from __future__ import annotations

import dataclasses
import inspect
import re
import threading
from html.parser import HTMLParser

import numpy as np
import pytest

import carl
from carl import evaluate, loggers, plots, report, runs, sources, speed
from carl._shown import line, shown
from conftest import SMALL, small_model

#: What has an address in a repr.
BARE = re.compile(r" at 0x[0-9a-f]+")


def public_classes():
    for module in (carl, evaluate, loggers, plots, report, runs, sources, speed):
        own = [name for name, found in vars(module).items() if getattr(found, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", own):
            found = getattr(module, name)
            ours = inspect.isclass(found) and found.__module__.startswith("carl")
            if ours and not issubclass(found, BaseException) and not name.startswith("_"):
                yield f"{module.__name__}.{name}", found


@pytest.mark.parametrize(("name", "made"), sorted(set(public_classes()), key=lambda pair: pair[0]))
def test_every_public_class_says_what_it_is(name, made):
    assert made.__repr__ is not object.__repr__, name


@pytest.mark.parametrize(
    "made", [found for _, found in public_classes() if dataclasses.is_dataclass(found)], ids=lambda made: made.__name__
)
def test_no_dataclass_dumps_its_arrays(made):
    """The repr that dataclasses are given shows arrays and long mappings whole."""
    fields = {field.name: str(field.type) for field in dataclasses.fields(made)}
    if any("ndarray" in kind or "dict" in kind for kind in fields.values()) and made is not report.Report:
        shown_by = next(base for base in made.__mro__ if "__repr__" in vars(base))
        assert "dataclass" not in shown_by.__repr__.__code__.co_filename and shown_by.__repr__.__name__ == "__repr__"
        assert shown_by.__module__ in ("carl._shown", made.__module__)


@pytest.fixture(scope="module")
def fitted():
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3)).astype(np.uint8)
    return small_model(mean=np.full(3, 0.5), std=[0.2, 0.2, 0.2]).fit(images), images


def examples(model, images):
    features, labels = model.transform(images), np.arange(40) % 2
    trainer = model.trainer_
    yield from (model, carl.CARL(), trainer, trainer.config, trainer.last_metrics, model.history_)
    yield from (carl.TrainerConfig(), type(model.history_)(), carl.Callback(), loggers.TensorBoard("<b>"))
    yield carl.Encoder.from_trainer(trainer)
    classifier = carl.Classifier(trainer, ["<b>cat</b>", "dog"])
    yield from (classifier, classifier.step(images, labels))
    yield evaluate.knn(features, labels, features, labels, [1, 3])
    yield evaluate.retrieval(features, labels)
    yield evaluate.linear_probe(trainer, images, labels, images, labels, epochs=1, progress=False)
    yield from evaluate.duplicates(np.concatenate([features, features]))[:1]
    yield from (evaluate.Whitening(), evaluate.Whitening().fit(features))
    yield evaluate.OnlineEvaluation((images, labels), 3)
    yield carl.assignment_loss([features, features], np.eye(4, features.shape[1], dtype=np.float32))
    yield from (carl.as_source(images), carl.as_source(list(images)), carl.as_source([images, images]))
    yield runs.RunFolder("runs/x")
    yield speed.measure(SMALL, images=4, steps=1)


def test_a_line_is_short_and_without_addresses(fitted):
    for each in examples(*fitted):
        text = repr(each)
        assert type(each).__name__ in text and not BARE.search(text), text
        assert len(text) < 1400 and max(map(len, text.splitlines())) < 330, text
    assert "mean=[0.5, 0.5, 0.5]" in repr(fitted[0])  # an array is neither equal to the default nor different


def test_values_in_some_words():
    assert shown(np.zeros((3, 4), np.float32)) == "<float32 (3, 4)>" and shown(np.arange(3)) == "[0, 1, 2]"
    assert shown(list(range(20))) == "[0, 1, 2, 3, 4, 5, 6, 7, … 12 more]" and shown((1,)) == "(1,)"
    assert shown(dict.fromkeys(range(9), 0.1)).endswith("7: 0.1, … 1 more}") and shown({}) == "{}"
    assert (shown(1 / 3), shown(1.0), shown(float("nan")), shown(1e-9)) == ("0.333333", "1.0", "nan", "1e-09")
    assert shown(1 / 3, None) == repr(1 / 3) and shown(np.float32(2)) == "2.0" and shown(len) == "len"
    assert len(shown("x" * 1000)) < 210 and shown([{"a": 1}] * 3) == "<3 rows>"
    long = line("Name", {f"key{place}": place for place in range(60)})
    assert long.startswith("Name(\n    key0=0, ") and long.endswith("key59=59,\n)") and len(long.splitlines()) < 12


def test_a_configuration_can_be_typed_again(trainer):
    config = trainer.config
    assert eval(repr(config), {"TrainerConfig": carl.TrainerConfig}) == config
    assert repr(carl.TrainerConfig(width=0.3)) == "TrainerConfig(width=0.3)"


def test_callbacks_that_know_their_model():
    class Mine(carl.Callback):
        def __init__(self, model):
            self.model, self.every = model, 3

    model = carl.CARL()
    model.set_params(callbacks=[Mine(model)])
    assert repr(model) == "CARL(callbacks=[Mine(every=3)])"


# ---- Notebooks


class Texts(HTMLParser):
    """Cells by the row's name; an error for tags that are not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag in ("div", "strong", "span", "table", "tr", "th", "td"), tag
        self.open.append(tag)
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1] += text

    @property
    def rows(self):
        return dict(zip(self.cells[::2], self.cells[1::2]))


def test_the_card_of_a_model_before_and_after_fit(fitted):
    before = small_model(run_dir="<script>")._repr_html_()
    assert "not fitted" in before and "<script>" not in before
    assert Texts(before).rows["run_dir"] == "'<script>'" and Texts(before).rows["width"] == "0.125"
    assert Texts(carl.CARL()._repr_html_()).rows == {"parameters": "all as by default"}
    model, _ = fitted
    after = model._repr_html_()
    rows = Texts(after).rows
    assert "10 steps" in after and rows["epochs"] == "2" and rows["encoder"] == "resnet18, stem small, width 0.125"
    assert rows["images"] == "12 pixels, 3 channels" and rows["features"] == str(model.n_features_out_)
    state = {key: value for key, value in model.trainer_.state_dict().items() if ".running_" not in key}
    assert rows["parameters"] == f"{sum(value.size for value in state.values()):,}"
    assert f"{model.history_[-1].loss:.4g}" in rows["last step"] and "prototypes=6" in rows["given"]


def test_cards_of_other_models(make_trainer, images):
    trainer = make_trainer(train_encoder="none", views=[{"size": 12, "count": 2}], view_size=None)
    rows = Texts(trainer._repr_html_()).rows
    assert "of them trained" in rows["parameters"] and rows["images"] == "12 pixels, 3 channels"
    assert "last step" not in rows and "not trained" in trainer._repr_html_()
    classifier = carl.Classifier(trainer, ["<b>cat</b>", "dog"], freeze_encoder=True)
    page = classifier._repr_html_()
    assert "<b>cat" not in page and Texts(page).rows["classes"] == "2: ['<b>cat</b>', 'dog']"
    assert Texts(page).rows["trains"] == "the linear layer"
    encoder = carl.Encoder.from_trainer(trainer)
    assert Texts(encoder._repr_html_()).rows == {"images": "3 channels", "features": "64"}
    transformer = make_trainer(encoder="vit_tiny", patch_size=4, stem=None, width=None)
    assert "vit_tiny, patches of 4" in transformer._repr_html_() and "patch_size=4" in repr(transformer)
    model = small_model(epochs=1).fit(images)
    for each in (trainer, classifier, encoder, model.trainer_):
        each.close()
    for each in (trainer, classifier, encoder, model):
        assert "closed" in each._repr_html_()
    assert repr(encoder) == "Encoder(closed)"


def test_a_trainer_that_another_thread_uses(make_trainer, images, monkeypatch):
    """Its handle is busy: what is shown is less, and no error."""
    trainer = make_trainer()
    shown_meanwhile = []

    def look(*given):
        raise carl.BusyError("the trainer is in use")

    monkeypatch.setattr("carl.trainer.string_from", look)
    monkeypatch.setattr(type(trainer), "output_width", look)
    thread = threading.Thread(target=lambda: shown_meanwhile.extend([repr(trainer), trainer._repr_html_()]))
    thread.start()
    thread.join()
    assert shown_meanwhile[0] == "Trainer(step_count=0)" and "in use" in shown_meanwhile[1]


def test_scikit_learn_shows_a_pipeline_with_a_model(images):
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(small_model(mean=np.full(3, 0.5), epochs=1), LogisticRegression())
    assert "CARL(" in repr(pipeline) and "CARL" in pipeline._repr_html_()
    pipeline.fit(images, np.arange(40) % 2)
    assert "CARL" in pipeline._repr_html_()


def test_how_long_steps_take_of_views_by_their_size():
    """A configuration whose views are a preset's name."""
    assert speed.measure({**SMALL, "view_size": 12}, images=4, steps=1).views_per_second > 0
