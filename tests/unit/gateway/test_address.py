import os
import socket
from pathlib import Path

import pytest

from crossgrade.gateway import socket_address


def test_a_path_that_fits_is_the_address() -> None:
    with socket_address("/run/broker.sock") as address:
        assert address == "/run/broker.sock"


@pytest.mark.parametrize("letter", ["a", "ä"])
def test_a_socket_is_reached_however_deep_its_folder(tmp_path: Path, letter: str) -> None:
    folder = tmp_path / (letter * 100)
    folder.mkdir()
    path = str(folder / "broker.sock")
    before = list(Path("/proc/self/fd").iterdir())
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with socket_address(path) as address:
            assert len(os.fsencode(address)) <= 107
            listener.bind(address)
        listener.listen()
        with socket_address(path) as address:
            client.connect(address)
        accepted, _ = listener.accept()
        accepted.close()
    assert Path(path).is_socket()
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), socket_address(str(tmp_path / ("a" * 100) / "broker.sock")):
        pass
