"""The JSON of the experiment form: filled with the spec, taken where it was edited, never guessed."""

import html
import json
import re

import pytest

from backtests.presets import preset
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment
from tests import factories
from tests.backtests.test_form_page import body

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]
FORM = "/experiments/new/"


@pytest.fixture
def version(alice):
    return factories.make_version(alice.first_workspace(), candles=synthetic_candles(days=90))


def texts_of(answer):
    """The shown text and the hidden copy of a page."""
    page = answer.content.decode()
    shown = re.search(r'<textarea name="spec_json"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    hidden = re.search(r'name="spec_served" value="([^"]*)"', page)
    return tuple(html.unescape(found[1]).strip() for found in (shown, hidden))


def opened(client, version, query=""):
    """What a browser would send of the form as it opens; line ends are those of browsers."""
    text, served = (one.replace("\n", "\r\n") for one in texts_of(client.get(f"{FORM}{query}")))
    return body(version, spec_json=text, spec_served=served)


def with_epochs(text, epochs):
    spec = json.loads(text)
    spec["training"]["epochs"] = epochs
    return json.dumps(spec)


def test_the_form_opens_with_the_spec_of_its_preset_as_json(client, version):
    shown, hidden = texts_of(client.get(f"{FORM}?preset=small"))
    assert json.loads(shown) == json.loads(hidden) == preset("small").to_json()
    assert shown.startswith("{\n  ")


def test_fields_count_while_the_json_is_untouched(client, version):
    client.post(FORM, opened(client, version) | {"training.epochs": "3"})
    assert Experiment.objects.get().model_spec.training.epochs == 3


def test_edited_json_counts_while_the_fields_are_untouched(client, version):
    sent = opened(client, version)
    client.post(FORM, sent | {"spec_json": with_epochs(sent["spec_json"], 5)})
    assert Experiment.objects.get().model_spec.training.epochs == 5


def test_a_wrong_field_is_said_beside_it_while_the_json_is_untouched(client, version):
    answer = client.post(FORM, opened(client, version) | {"network.heads": "7"})
    assert answer.status_code == 400
    assert [*answer.context["form"].errors] == ["network.heads"]
    assert json.loads(texts_of(answer)[0]) == preset("tiny").to_json()


@pytest.mark.parametrize("action", ["validate", "save"])
def test_fields_and_json_that_were_both_edited_are_refused_and_kept(client, version, action):
    sent = opened(client, version)
    text = with_epochs(sent["spec_json"], 5)
    sent |= {"spec_json": text, "training.batch": "32", "action": action}
    answer = client.post(FORM, sent)
    assert answer.status_code == 400
    [said] = answer.context["form"].errors["spec_json"]
    assert said == (
        "found changes in this text and in Batch (was 256); expected them in one of the two. Empty the "
        "text to go by the fields, or set the fields back to go by the text."
    )
    assert texts_of(answer)[0] == text
    assert 'name="training.batch" value="32"' in answer.content.decode()
    assert not Experiment.objects.exists()


def test_a_field_that_was_changed_to_what_the_json_says_is_no_contradiction(client, version):
    sent = opened(client, version)
    sent |= {"spec_json": with_epochs(sent["spec_json"], 5), "training.epochs": "5"}
    assert client.post(FORM, sent).status_code == 302
    assert Experiment.objects.get().model_spec.training.epochs == 5


def test_an_emptied_text_leaves_the_word_to_the_fields(client, version):
    client.post(FORM, opened(client, version) | {"spec_json": " ", "training.epochs": "3"})
    assert Experiment.objects.get().model_spec.training.epochs == 3


def test_validated_fields_are_shown_as_json_and_validated_json_in_the_fields(client, version):
    sent = opened(client, version) | {"action": "validate"}
    by_fields = client.post(FORM, sent | {"training.epochs": "3"})
    assert [json.loads(text)["training"]["epochs"] for text in texts_of(by_fields)] == [3, 3]
    text = with_epochs(sent["spec_json"], 5)
    by_text = client.post(FORM, sent | {"spec_json": text})
    assert texts_of(by_text) == (text, text)
    assert 'name="training.epochs" value="5"' in by_text.content.decode()


def test_after_validated_json_a_field_can_be_edited(client, version):
    sent = opened(client, version)
    text = json.dumps({"network": {"kind": "linear"}})
    page = client.post(FORM, sent | {"spec_json": text, "action": "validate"})
    form = page.context["form"]
    fields = {name: form[name].value() for name in sent if name in form.fields}
    ticked = {name: value for name, value in fields.items() if value is not False}
    client.post(FORM, ticked | {"datasets": version.pk, "training.epochs": "3"})
    spec = Experiment.objects.get().model_spec
    assert (spec.network.kind, spec.training.epochs) == ("linear", 3)


def test_unreadable_json_is_kept_and_fields_of_the_page_too(client, version):
    answer = client.post(FORM, opened(client, version) | {"spec_json": '{"a": '})
    assert answer.status_code == 400
    assert "no valid JSON" in answer.context["form"].errors["spec_json"][0]
    assert texts_of(answer)[0] == '{"a":'


def test_the_json_of_a_clone_is_that_of_its_source_and_its_edit_is_told_before_launch(
    client, version
):
    client.post(FORM, body(version, **{"training.epochs": "4"}))
    source = Experiment.objects.get()
    sent = opened(client, version, f"?from={source.pk}") | {
        "from": source.pk,
        "training.epochs": "4",
        "key": "two",
    }
    assert json.loads(sent["spec_json"]) == source.spec
    sent["spec_json"] = with_epochs(sent["spec_json"], 9)
    for address, action in (("/experiments/estimate/", ""), (FORM, "validate")):
        page = client.post(address, sent | {"action": action}).content.decode()
        assert "<td>4</td><td><strong>9</strong></td>" in page
    client.post(FORM, sent | {"action": "launch"})
    clone = Experiment.objects.latest("pk")
    assert (clone.parent, clone.model_spec.training.epochs) == (source, 9)
    assert clone.runs.count() == 1
