from backtests.services import NAME_MAX, own_name


def test_name_of_a_backtest_keeps_its_seed_and_fits_the_column():
    assert own_name("Short", 3) == "Short, seed 3"
    long_name = own_name("x" * NAME_MAX, 2_147_483_647)
    assert len(long_name) == NAME_MAX
    assert long_name.endswith(", seed 2147483647")
