"""Downloads: checksums, broken transfers, further sources."""

import hashlib
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import DATA
from nnpipe.data import download as module
from nnpipe.data.download import download
from nnpipe.data.molecules import read_molecules
from nnpipe.data.qm9 import convert_qm9, read_manifest
from nnpipe.data.sources import Remote
from nnpipe.errors import InputError

CONTENT = (DATA / "qm9.tar.bz2").read_bytes()
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """Serve CONTENT over HTTP; the first `server.broken` responses are incomplete."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.requests += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if self.server.broken > 0:
                self.server.broken -= 1
                self.wfile.write(CONTENT[:1000])
            else:
                self.wfile.write(CONTENT)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.requests, http.broken = 0, 0
        http.url = f"http://127.0.0.1:{http.server_address[1]}/qm9"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()


def one(url: str, sha: str = SHA, name: str = "qm9.tar.bz2") -> dict[str, tuple[Remote, ...]]:
    return {"test": (Remote(name, url, sha),)}


def test_download_is_verified_and_not_repeated(server, tmp_path):
    for _ in range(2):
        download(["test"], tmp_path / "raw.json", one(server.url))
    assert server.requests == 1
    manifest = read_manifest(tmp_path / "raw.json")
    assert manifest["source"] == "test"
    assert Path(manifest["files"][0]["path"]).read_bytes() == CONTENT


def test_download_retries_a_broken_transfer(server, tmp_path):
    server.broken = 2
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "tmpkilled").write_bytes(CONTENT[:10])  # of a download that was killed
    download(["test"], tmp_path / "raw.json", one(server.url))
    assert server.requests == 3
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["qm9.tar.bz2"]


def test_download_with_a_wrong_checksum_is_reported_and_deleted(server, tmp_path):
    with pytest.raises(InputError) as caught:
        download(["test"], tmp_path / "raw.json", one(server.url, "0" * 64))
    message = str(caught.value)
    assert "qm9.tar.bz2" in message
    assert "0" * 64 in message
    assert SHA in message
    assert "\n" not in message
    assert not list((tmp_path / "raw").iterdir())
    assert not (tmp_path / "raw.json").exists()


def test_download_takes_the_next_source(server, tmp_path):
    known = one("http://127.0.0.1:9/nobody") | {"second": (Remote("b", server.url, SHA),)}
    download(["test", "second"], tmp_path / "raw.json", known)
    assert read_manifest(tmp_path / "raw.json")["source"] == "second"


def test_download_reports_the_reason_of_every_source(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(InputError, match=r"none of test, no\.tar is available") as caught:
        download(["test", "no.tar"], tmp_path / "raw.json", one("http://127.0.0.1:9/nobody"))
    assert "Connection" in str(caught.value)
    assert "neither a known source nor an existing file" in str(caught.value)
    assert "\n" not in str(caught.value)


def wheel(folder: Path) -> Path:
    """Write an empty wheel that pip accepts, and return its path."""
    path = folder / "nothing_here-1.0-py3-none-any.whl"
    info = "nothing_here-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: nothing-here\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.parametrize("good", [True, False])
def test_download_of_a_wheel_is_verified(tmp_path, monkeypatch, good):
    (tmp_path / "index").mkdir()
    path = wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    sha = module.sha256(path) if good else "0" * 64
    known = one("pip:nothing-here==1.0", sha, path.name)
    if good:
        download(["test"], tmp_path / "raw.json", known)
        assert module.sha256(tmp_path / "raw" / path.name) == sha
    else:
        with pytest.raises(InputError, match=rf"expected SHA-256 {sha}, got .+; deleted"):
            download(["test"], tmp_path / "raw.json", known)
        assert not list((tmp_path / "raw").iterdir())


def test_download_of_a_missing_wheel_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"pip download failed: .*No matching distribution"):
        download(["test"], tmp_path / "raw.json", one("pip:nothing-here==1.0"))


@pytest.mark.parametrize("name", ["qm9.tar.bz2", "qm9pack.zip"])
def test_download_of_local_files_gives_the_same_table(tmp_path, name, tables):
    download(["nowhere.tar", str(DATA / name)], tmp_path / "raw.json")
    convert_qm9(tmp_path / "raw.json", tmp_path / "qm9")
    ours, theirs = read_molecules(tmp_path / "qm9")[1], read_molecules(tables[0])[1]
    assert ours["digest"] == theirs["digest"]
    assert ours["provenance"]["files"][0]["sha256"] == module.sha256(DATA / name)


def test_manifest_refuses_a_changed_or_missing_file(tmp_path):
    path = tmp_path / "qm9.tar.bz2"
    path.write_bytes(CONTENT)
    download([str(path)], tmp_path / "raw.json")
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=f"expected SHA-256 {SHA}, got"):
        convert_qm9(tmp_path / "raw.json", tmp_path / "qm9")
    path.unlink()
    with pytest.raises(InputError, match="got no file; delete"):
        convert_qm9(tmp_path / "raw.json", tmp_path / "qm9")


def test_qm9_refuses_a_file_of_another_kind(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no data")
    download([str(path)], tmp_path / "raw.json")
    with pytest.raises(InputError, match="neither QM9's tar archive nor the qm9pack wheel"):
        convert_qm9(tmp_path / "raw.json", tmp_path / "qm9")


def test_qm9_refuses_an_incomplete_canonical_download(tmp_path):
    download([str(DATA / "qm9.tar.bz2")], tmp_path / "raw.json")
    manifest = json.loads((tmp_path / "raw.json").read_text()) | {"canonical": True}
    (tmp_path / "raw.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="400 molecules, QM9 has 130831"):
        convert_qm9(tmp_path / "raw.json", tmp_path / "qm9")
    assert not (tmp_path / "qm9").exists()
