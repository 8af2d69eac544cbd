"""What is written to a log that takes nothing is lost, and nothing else is."""

import io

from interlock.bootstrap.lossy_stream import LossyStream


def test_a_full_disk_and_a_reader_who_is_gone_lose_the_line_alone():
    with open("/dev/full", "w") as full:
        assert LossyStream(full).write("lost\n") == 5
    closed = io.StringIO()
    closed.close()
    print("lost", file=LossyStream(closed), flush=True)


def test_what_has_room_gets_every_line_at_once_whatever_is_in_it(tmp_path):
    with (tmp_path / "log").open("w") as log:
        print("one \udcff", file=LossyStream(log))
        assert (tmp_path / "log").read_text() == "one \\udcff\n"
    kept = io.StringIO()
    LossyStream(kept).write("kept")
    assert kept.getvalue() == "kept"
