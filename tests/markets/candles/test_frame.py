import hashlib
import struct

import numpy as np
import pyarrow.parquet as pq

from markets.candles.frame import Candles, candles_sha256, read_candles, write_candles
from markets.candles.synthetic import synthetic_candles

MINUTE = 60_000_000_000


def two_candles(volume=(1.0, 2.0)):
    return Candles(
        1,
        np.array([0, MINUTE]),
        np.array([1.0, 2.0]),
        np.array([2.0, 3.0]),
        np.array([0.5, 1.5]),
        np.array([2.0, 2.5]),
        np.array(volume),
    )


def test_checksum_is_of_the_documented_bytes():
    body = b"outsample-candles-1\n" + struct.pack("<2q", 0, 60_000_000)
    for pair in ((1.0, 2.0), (2.0, 3.0), (0.5, 1.5), (2.0, 2.5), (1.0, 2.0)):
        body += struct.pack("<2d", *pair)
    assert candles_sha256(two_candles()) == hashlib.sha256(body).hexdigest()


def test_checksum_takes_minus_zero_for_zero():
    assert candles_sha256(two_candles((-0.0, 2.0))) == candles_sha256(two_candles((0.0, 2.0)))


def test_checksum_sees_one_changed_bit():
    changed = two_candles((np.nextafter(1.0, 2.0), 2.0))
    assert candles_sha256(changed) != candles_sha256(two_candles())


def test_written_candles_come_back_equal(tmp_path):
    candles = synthetic_candles(days=2)
    write_candles(tmp_path / "candles.parquet", candles)
    back = read_candles(tmp_path / "candles.parquet", 5)
    assert candles_sha256(back) == candles_sha256(candles)
    assert back.time.dtype == np.int64
    schema = pq.read_schema(tmp_path / "candles.parquet")
    assert str(schema.field("timestamp").type) == "timestamp[us, tz=UTC]"


def test_gap_is_marked_at_the_bar_after_the_hole():
    candles = synthetic_candles(days=1)
    keep = np.r_[0:10, 12:20]
    holed = Candles(
        5,
        candles.time[keep],
        *(getattr(candles, name)[keep] for name in ("open", "high", "low", "close", "volume")),
    )
    assert np.flatnonzero(holed.gap_before).tolist() == [10]
    assert not holed.slice(10, 18).gap_before.any()


def test_close_time_is_one_bar_after_the_open():
    assert two_candles().close_time.tolist() == [MINUTE, 2 * MINUTE]
