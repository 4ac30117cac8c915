import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.store import local_path
from jobs.statuses import JobStatus
from tests import factories
from tests.api import bearer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def run(alice):
    return factories.make_run(factories.make_experiment(alice.first_workspace()))


@pytest.fixture
def backtest(run):
    return factories.make_backtest(run)


def test_the_list_shows_a_sharpe_ratio_only_with_its_interval(client, backtest):
    page = client.get("/backtests/").content.decode()
    assert "−0.84" in page
    assert "[−3.10, 1.20]" in page


def test_the_list_needs_at_most_eight_queries(client, run, django_assert_max_num_queries):
    for _ in range(3):
        factories.make_backtest(run, status=JobStatus.QUEUED)
    with django_assert_max_num_queries(8):
        client.get("/backtests/")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("beats", "Beats buy and hold"),
        ("ties", "Not better than buy and hold"),
        ("loses", "Loses to buy and hold"),
        ("undecided", "Undecided"),
        ("withheld", "Verdict withheld"),
    ],
)
def test_the_report_begins_with_the_verdict_in_words(client, run, word, line):
    backtest = factories.make_backtest(run, verdict=word)
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    assert line in page


def test_the_verdict_names_buy_and_hold_when_that_decided_although_another_rung_is_best(
    client, backtest
):
    verdict = backtest.report["verdict"]
    hold, logistic = verdict["comparisons"]
    verdict |= {"best_rung": "logistic", "deciding": hold | {"low": -0.0123, "high": 0.0234}}
    logistic |= {"word": "beats", "low": 0.0111, "high": 0.0222}
    backtest.save()
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    head = page[page.index("verdict-line") : page.index('class="badges"')]
    assert "Not better than buy and hold" in head
    assert "Best of 2 rungs: logistic regression." in head
    assert "−1.23\u00a0pp to +2.34\u00a0pp" in head
    assert "+1.11" not in head


def test_the_blocks_of_the_report_stand_in_order(client, backtest):
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    order = ["verdict-line", 'id="equity"', 'id="drawdown"', 'id="months"', 'id="trades"']
    order += ['id="drawdowns"', 'id="rungs"', 'id="costs"', 'id="measures"', 'id="assumptions"']
    places = [page.index(mark) for mark in order]
    assert places == sorted(places)


def test_a_report_needs_at_most_fifteen_queries(client, backtest, django_assert_max_num_queries):
    with django_assert_max_num_queries(15):
        client.get(f"/backtests/{backtest.pk}/")


def test_a_null_is_a_dash_with_its_reason(client, backtest):
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    assert "fewer than 30 daily returns" in page
    assert "none, it loses even without costs" in page
    for word in ("NaN", "None", "inf<"):
        assert word not in page


def test_differences_of_returns_are_in_percentage_points(client, backtest):
    backtest.report["numbers"]["excess_return"] = 0.03
    backtest.save()
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    against = page.split("#m-excess_return")[1].split("</dd>")[0]
    assert "+3.00\u00a0pp" in against
    rungs = page.split('id="rungs"')[1].split("</section>")[0]
    assert "−0.02\u00a0pp" in rungs
    assert "[−0.09\u00a0pp, +0.04\u00a0pp]" in rungs
    assert "−0.09\u00a0pp to +0.04\u00a0pp" in page.split('id="verdict-line"')[1]


def test_a_win_rate_stands_with_its_break_even_rate(client, backtest):
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    assert "win rate 49.12\u00a0%, break-even at 55.00\u00a0%" in page


def test_the_equity_chart_ends_at_the_stored_equity(client, backtest):
    figure = client.get(f"/backtests/{backtest.pk}/charts/equity/").json()["figure"]
    model = next(trace for trace in figure["data"] if trace["name"] == "Model")
    assert model["y"][-1] / 10_000 - 1 == pytest.approx(backtest.net_return)


def test_the_drawdown_chart_begins_at_zero(client, backtest):
    figure = client.get(f"/backtests/{backtest.pk}/charts/drawdown/").json()["figure"]
    model = next(trace for trace in figure["data"] if trace["name"] == "Model")
    assert model["y"][0] == 0.0
    assert min(value for value in model["y"] if value is not None) < 0


def test_the_trade_file_has_the_trades_of_the_page(client, backtest):
    text = client.get(f"/backtests/{backtest.pk}/trades.csv").content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    assert f"{len(rows)} trades" in page
    assert rows[0]["entry_time"][:10] in page
    assert rows[-1]["exit_time"] == ""


def test_trades_can_be_sorted(client, backtest):
    page = client.get(f"/backtests/{backtest.pk}/?sort=-return").content.decode()
    assert page.index("+0.40") < page.index("−0.50\u00a0%</span></td>\n          </tr>")
    assert client.get(f"/backtests/{backtest.pk}/?sort=password").status_code == 404


def test_report_json_keeps_every_figure_under_numbers(client, backtest):
    document = client.get(f"/backtests/{backtest.pk}/report.json").json()
    assert document["numbers"] == backtest.report["numbers"]
    assert document["dataset"]["sha256"] == backtest.version.sha256


@pytest.mark.parametrize("name", ["trades.csv", "report.json"])
def test_a_file_of_the_page_is_that_of_the_api_byte_for_byte(client, alice, backtest, name):
    of_page = client.get(f"/backtests/{backtest.pk}/{name}")
    of_api = bearer(alice).get(f"/api/backtests/{backtest.pk}/{name}")
    assert of_page.content == of_api.content != b""
    assert of_page["Content-Type"] == of_api["Content-Type"]


def test_trades_go_on_over_the_page_in_the_order_asked_for(client, backtest):
    table = pq.read_table(local_path(backtest.trades)).to_pydict()
    backtest.trades = factories.make_stored(
        backtest.workspace,
        lambda path: pq.write_table(
            pa.table({name: values * 2 for name, values in table.items()}), path
        ),
    )
    backtest.save()
    count = 2 * len(table["return"])
    pages = [
        client.get(f"/backtests/{backtest.pk}/?sort=-return&page={number}").context["trades"]
        for number in range(1, -(-count // 50) + 1)
    ]
    shown = [trade for page in pages for trade in page]
    assert [trade["return"] for trade in shown] == sorted(table["return"] * 2, reverse=True)
    assert sorted(trade["number"] for trade in shown) == list(range(1, count + 1))
    assert client.get(f"/backtests/{backtest.pk}/?page={len(pages) + 1}").status_code == 404


def test_a_report_without_a_trade_says_so(client, backtest):
    none = pq.read_table(local_path(backtest.trades)).slice(0, 0)
    backtest.trades = factories.make_stored(
        backtest.workspace, lambda path: pq.write_table(none, path)
    )
    backtest.save()
    assert "No trade: the score" in client.get(f"/backtests/{backtest.pk}/").content.decode()
    assert client.get(f"/backtests/{backtest.pk}/trades.csv").content.count(b"\n") == 1


def test_a_queued_backtest_shows_its_live_box_and_no_report(client, run):
    backtest = factories.make_backtest(run, status=JobStatus.QUEUED)
    page = client.get(f"/backtests/{backtest.pk}/").content.decode()
    assert 'hx-trigger="every 2s"' in page
    assert "verdict-line" not in page
    assert client.get(f"/backtests/{backtest.pk}/charts/equity/").status_code == 404
    assert client.get(f"/backtests/{backtest.pk}/report.json").status_code == 404


def test_synthetic_data_is_said_on_the_report(client, alice):
    version = factories.make_version(alice.first_workspace(), source="synthetic")
    run = factories.make_run(factories.make_experiment(version.workspace, version))
    backtest = factories.make_backtest(run)
    assert "synthetic" in client.get(f"/backtests/{backtest.pk}/").content.decode()


@pytest.mark.parametrize(
    "end", ["", "status/", "charts/equity/", "charts/drawdown/", "trades.csv", "report.json"]
)
def test_a_stranger_gets_404(client, backtest, end):
    client.force_login(factories.make_user("charlie"))
    assert client.get(f"/backtests/{backtest.pk}/{end}").status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "/backtests/{b}/charts/equity/",
        "/runs/{r}/charts/loss/",
        "/runs/{r}/predictions/{s}/of/1/chart/",
    ],
)
def test_charts_are_sent_packed_to_whoever_takes_it(client, run, backtest, address):
    url = address.format(b=backtest.pk, r=run.pk, s=run.prediction_sets.get().pk)
    answer = client.get(url, HTTP_ACCEPT_ENCODING="gzip")
    assert answer["Content-Encoding"] == "gzip"
