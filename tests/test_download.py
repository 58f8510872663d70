"""Downloads over bad lines: whatever happens, a file bears its name only if it is the published one."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from web import Served, Web, serving

from vdt3d.models.weights import download as module
from vdt3d.models.weights.download import DownloadError, download, sha256_of, verify

CONTENT = bytes(range(250)) * 20  # 5000 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"\n<!DOCTYPE html><html><body>This file is too large to scan for viruses. Download anyway?</body></html>"


@pytest.fixture(autouse=True)
def no_waiting_and_no_proxy(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    for name in [*(name for name in os.environ if name.lower().endswith("_proxy")), module.MIRROR]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.files["/a.pth"] = Served(CONTENT)
        yield server


def left(folder: Path) -> list[str]:
    """The files in a folder but for hidden locks."""
    return sorted(path.name for path in folder.glob("[!.]*"))


def good_in_the_end(web: Web, path: Path) -> None:
    """What was refused left nothing that keeps the good file from coming."""
    web.files["/a.pth"] = Served(CONTENT, etag='"good"')
    download(f"{web.url}/a.pth", path, sha256=SHA256)
    assert path.read_bytes() == CONTENT and left(path.parent) == ["a.pth"]


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8], SHA256.upper(), None])
def test_a_file_comes_whole_and_once(web, tmp_path, sha256, capfd):
    path = tmp_path / "new" / "a.pth"
    for _ in range(2):
        download(f"{web.url}/a.pth", path, sha256=sha256, size=5000)
    assert path.read_bytes() == CONTENT and left(path.parent) == ["a.pth"]
    assert web.asked == [("/a.pth", None)]
    assert capfd.readouterr() == ("", "")


def test_a_cut_connection_is_taken_up_where_it_broke(web, tmp_path):
    web.files["/a.pth"].cuts = [1000, 500]
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert web.asked == [("/a.pth", None), ("/a.pth", "bytes=1000-"), ("/a.pth", "bytes=1500-")]
    assert web.sent == 5000  # 1000 + 500 + 3500: nothing came twice
    assert left(tmp_path) == ["a.pth"]


def test_what_came_before_giving_up_is_not_fetched_again(web, tmp_path):
    web.files["/a.pth"].cuts = [1000] * module.ATTEMPTS
    with pytest.raises(
        DownloadError, match=r"a.pth: not fetched \(.* after 4000 of 5000 bytes, 4 times\); .*part is kept"
    ):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert left(tmp_path) == ["a.pth.part", "a.pth.part.tag"]
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert (web.asked[-1][1], web.sent) == ("bytes=4000-", 5000)
    assert left(tmp_path) == ["a.pth"]


@pytest.mark.parametrize(
    ("etag", "ranges", "second"), [('"1"', False, "bytes=1000-"), (None, True, None), ('W/"1"', True, None)]
)
def test_where_nothing_can_be_taken_up_it_begins_anew(web, tmp_path, etag, ranges, second):
    web.files["/a.pth"] = Served(CONTENT, etag=etag, ranges=ranges, cuts=[1000])
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=None)
    assert [wanted for _, wanted in web.asked] == [None, second]
    assert (tmp_path / "a.pth").read_bytes() == CONTENT and web.sent == 6000


def test_the_beginning_of_another_version_is_thrown_away(web, tmp_path):
    web.files["/a.pth"] = Served(b"old" * 2000, etag='"old"', cuts=[1000] * module.ATTEMPTS)
    with pytest.raises(DownloadError):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=None)
    good_in_the_end(web, tmp_path / "a.pth")


def test_a_page_that_comes_half_way_costs_nothing_of_what_came_before(web, tmp_path):
    web.files["/a.pth"].cuts = [1000] * module.ATTEMPTS
    with pytest.raises(DownloadError):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    good, web.files["/a.pth"] = web.files["/a.pth"], Served(PAGE, kind="text/html", ranges=False)
    with pytest.raises(DownloadError, match="there is a web page"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    web.files["/a.pth"] = good
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert web.asked[-1][1] == "bytes=4000-" and left(tmp_path) == ["a.pth"]


def test_a_beginning_longer_than_the_file_is_thrown_away(web, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.pth.part.tag").write_text('"1"')
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert [wanted for _, wanted in web.asked] == ["bytes=5004-", None]
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_another_hash_is_refused_naming_both(web, tmp_path):
    web.files["/a.pth"].content = CONTENT[:-1] + b"x"
    found = hashlib.sha256(CONTENT[:-1] + b"x").hexdigest()
    with pytest.raises(DownloadError, match=f"hash {found} instead of {SHA256}") as refusal:
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert f"{web.url}/a.pth: not fetched" in str(refusal.value)
    assert left(tmp_path) == []
    good_in_the_end(web, tmp_path / "a.pth")


def test_another_size_is_refused(web, tmp_path):
    with pytest.raises(DownloadError, match="has 5000 bytes instead of 5001"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=None, size=5001)
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_page_in_place_of_the_file_is_refused_with_a_way_out(web, tmp_path, kind, sha256):
    web.files["/a.pth"] = Served(PAGE, kind=kind)
    with pytest.raises(DownloadError, match=r"there is a web page, .*vdt3d download NAME --from FILE"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=sha256)
    assert left(tmp_path) == []
    good_in_the_end(web, tmp_path / "a.pth")


def test_a_file_that_is_not_there_is_asked_for_once(web, tmp_path):
    with pytest.raises(DownloadError, match=r"/none.pth: not fetched \(HTTP Error 404.*check the address"):
        download(f"{web.url}/none.pth", tmp_path / "a.pth", sha256=None)
    assert len(web.asked) == 1 and left(tmp_path) == []


def test_a_busy_server_is_asked_again_and_an_absent_one_is_named(web, tmp_path):
    web.files["/a.pth"].codes = [503, 429]
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert len(web.asked) == 3
    with serving() as gone:
        pass
    with pytest.raises(DownloadError, match=r"b.pth: not fetched \(.*, 4 times\); check the address"):
        download(f"{gone.url}/b.pth", tmp_path / "b.pth", sha256=None)


def test_a_server_that_falls_silent_is_asked_again(web, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    web.files["/a.pth"].pauses = [1.0]
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert len(web.asked) == 2
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_full_disk_is_named_and_nothing_kept(web, tmp_path):
    (tmp_path / "a.pth.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device; .*a.pth was not kept: '.*a.pth'"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert left(tmp_path) == []
    good_in_the_end(web, tmp_path / "a.pth")


def test_those_who_want_the_same_file_at_once_wait_for_one_download(web, tmp_path):
    web.files["/a.pth"].pauses = [0.3]
    seen, path = [], tmp_path / "a.pth"

    def fetch() -> None:
        download(f"{web.url}/a.pth", path, sha256=SHA256)
        seen.append(path.read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [CONTENT] * 4 and len(web.asked) == 1


def test_a_mirror_replaces_all_of_the_address_but_the_name(web, tmp_path, monkeypatch):
    web.files = {"/mirror/of/ours/a.pth": Served(CONTENT)}
    monkeypatch.setenv("VDT3D_MIRROR", f"{web.url}/mirror/of/ours/")
    download("https://far.invalid/download?id=7", tmp_path / "a.pth", sha256=SHA256)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_the_proxy_of_the_environment_is_used(web, tmp_path, monkeypatch):
    web.files = {"http://far.invalid/a.pth": Served(CONTENT)}  # proxies are asked for whole addresses
    monkeypatch.setenv("http_proxy", web.url)
    download("http://far.invalid/a.pth", tmp_path / "a.pth", sha256=SHA256)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_only_the_web_is_downloaded_from(tmp_path):
    (tmp_path / "b.pth").write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="no http:// or https:// address"):
        download((tmp_path / "b.pth").as_uri(), tmp_path / "a.pth", sha256=None)


def test_a_download_that_lasts_has_a_bar_on_a_terminal(web, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take anything for a terminal
    monkeypatch.setattr(module, "QUICK_S", -1)
    download(f"{web.url}/a.pth", tmp_path / "a.pth", sha256=SHA256)
    said = capfd.readouterr()
    assert "a.pth" in said.err and said.out == ""


def test_a_file_is_verified_against_what_is_known_of_it(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(CONTENT)
    assert sha256_of(path) == SHA256
    verify(path, sha256=SHA256[:12], size=5000)
    for wrong in (SHA256[:7], SHA256 + "0", "not a hash"):
        with pytest.raises(DownloadError, match="give 8 to 64 hexadecimal digits"):
            verify(path, sha256=wrong)
