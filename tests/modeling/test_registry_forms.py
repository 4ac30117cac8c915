"""Forms of the registry that somebody has tampered with."""

import pytest

from modeling.models import ModelPrediction, RegisteredModel
from tests import factories
from tests.registry import loadable, make_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def run(alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    loadable(run)
    return run


def predict(client, run, key):
    model = make_model(run)
    version = run.experiment.version
    return client.post(f"/models/{model.pk}/predict/", {"version": version.pk, "key": key})


@pytest.mark.parametrize("fold", ["abc", "²", "-1", "9" * 5000])
def test_fold_that_is_no_number_is_refused_beside_its_field(client, run, fold):
    form = {"run": run.pk, "name": "Best", "fold": fold, "stage": "candidate"}

    answer = client.post("/models/new/", form)

    assert answer.status_code == 400
    assert "expected the number of a fold" in answer.content.decode()
    assert not RegisteredModel.objects.exists()


@pytest.mark.parametrize("key", ["x" * 201, "two words"])
def test_key_that_cannot_be_one_is_refused_on_the_page_of_the_model(client, run, key):
    answer = predict(client, run, key)

    assert answer.status_code == 409
    assert "expected 1 to 200 visible ASCII characters" in answer.content.decode()
    assert not ModelPrediction.objects.exists()
