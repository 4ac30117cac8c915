import pytest

from tests.path import demo_version, finished_backtest, finished_run, make_people, quick_spec

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_equal_seed_and_data_give_equal_weights_predictions_and_numbers():
    user, workspace = make_people()
    version = demo_version(workspace, user)
    first = finished_run(user, version, quick_spec())
    report = finished_backtest(first).report
    second = finished_run(user, version, quick_spec())
    assert second.weights_sha256 == first.weights_sha256
    assert second.predictions_sha256 == first.predictions_sha256
    assert finished_backtest(second).report["numbers"] == report["numbers"]
