"""The page: its data, access to it, and its use with mouse and keyboard."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import requests
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.sandbox.public_studies import celltypist_sample
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store.catalog import DEFAULT_TOKEN
from tests.patience import PATIENCE


@pytest.fixture
def own() -> Iterator[Sandbox]:
    """A sandbox for one test, because the page lists all submissions."""
    with bc.sandbox() as running:
        yield running


@pytest.fixture
def signed_in(server: Sandbox) -> Iterator[requests.Session]:
    """A session that is signed in, like a browser after the first visit."""
    with requests.Session() as session:
        answer = session.post(f"{server.url}/signin", data={"token": server.token}, timeout=PATIENCE)
        assert answer.json() == {"user": server.email}
        yield session


def _data(server: Sandbox, session: requests.Session, path: str) -> Any:
    answer = session.get(f"{server.url}/page/data/{path}", timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.headers["content-type"] == "application/json" else answer.content


def _public(server: Sandbox, session: requests.Session, study_id: str) -> str:
    groups = _data(server, session, "home")["groups"]
    return next(study["uuid"] for group in groups for study in group["studies"] if study["id"] == study_id)


def test_the_page_draws_the_values_of_the_study(server: Sandbox, signed_in: requests.Session) -> None:
    uuid = _public(server, signed_in, "PBMC68k_reduced")
    about = _data(server, signed_in, f"study/{uuid}")
    adata = bc.study("PBMC68k_reduced").to_anndata(unit="lognorm")
    assert about["size"] == [700, 765]
    assert _data(server, signed_in, f"study/{uuid}/barcodes") == list(adata.obs_names)
    number = next(i for i, field in enumerate(about["fields"]) if field["name"] == "bulk_labels")
    field = _data(server, signed_in, f"study/{uuid}/field/{number}")
    codes = np.frombuffer(_data(server, signed_in, f"study/{uuid}/field/{number}/values"), "<u2")
    assert [field["labels"][code] for code in codes] == adata.obs["bulk_labels"].tolist()
    assert dict(zip(field["labels"], field["counts"], strict=True)) == adata.obs["bulk_labels"].value_counts().to_dict()
    found = _data(server, signed_in, f"study/{uuid}/features?q=cd3")
    assert {match["name"] for match in found["matches"]} == {name for name in adata.var_names if "CD3" in name}
    gene = found["matches"][0]
    values = np.frombuffer(_data(server, signed_in, f"study/{uuid}/gene/{gene['number']}"), "<f4")
    assert np.array_equal(values, adata[:, gene["name"]].X.toarray().ravel())


def test_clusters_are_in_natural_order_with_their_own_cells(server: Sandbox, signed_in: requests.Session) -> None:
    rng = np.random.default_rng(3)
    clusters = [None, *map(str, rng.integers(0, 13, 200)), *map(str, range(13)), None]
    adata = ad.AnnData(np.ones((len(clusters), 3), np.float32), obs={"cluster": clusters, "none": [np.nan] * 215})
    adata.obs["none"] = pd.Categorical(adata.obs["none"])
    server.add_study("CLUSTERS", adata)
    path = f"study/{_public(server, signed_in, 'CLUSTERS')}"
    names = [field["name"] for field in _data(server, signed_in, path)["fields"]]
    field = _data(server, signed_in, f"{path}/field/{names.index('cluster')}")
    codes = np.frombuffer(_data(server, signed_in, f"{path}/field/{names.index('cluster')}/values"), "<u2")
    assert field["labels"] == [str(number) for number in range(13)]
    assert [None if code == 65_535 else field["labels"][code] for code in codes] == clusters
    assert field["counts"] == [clusters.count(label) for label in field["labels"]]
    empty = np.frombuffer(_data(server, signed_in, f"{path}/field/{names.index('none')}/values"), "<u2")
    assert set(empty) == {65_535}


def test_the_page_draws_an_embedding_at_its_own_coordinates(server: Sandbox, signed_in: requests.Session) -> None:
    uuid = _public(server, signed_in, "PBMC68k_reduced")
    place = next(row for row in _data(server, signed_in, f"study/{uuid}")["embeddings"] if row["name"] == "X_umap")
    sent = np.frombuffer(_data(server, signed_in, f"study/{uuid}/embedding/{place['id']}"), "<f4").reshape(-1, 2)
    import scanpy as sc

    assert np.array_equal(sent, sc.datasets.pbmc68k_reduced().obsm["X_umap"].astype(np.float32))


@pytest.mark.parametrize("number", ["9" * 5000, "999", "-1", "%D9%A3", "1.5"])
def test_a_gene_or_field_that_does_not_exist_is_not_found_whatever_its_number(
    server: Sandbox, signed_in: requests.Session, number: str
) -> None:
    uuid = _public(server, signed_in, "PBMC68k_reduced")
    for path in (f"gene/{number}", f"field/{number}", f"field/{number}/values"):
        url = f"{server.url}/page/data/study/{uuid}/{path}"
        assert signed_in.get(url, timeout=PATIENCE).status_code == 404
        assert requests.get(url, timeout=PATIENCE).status_code == 401
    assert signed_in.get(f"{server.url}/page/data/task/x?from={number}", timeout=PATIENCE).status_code == 404


def test_a_downloaded_file_equals_the_study(server: Sandbox, signed_in: requests.Session, tmp_path: Any) -> None:
    uuid = _public(server, signed_in, "PBMC68k_reduced")
    made = signed_in.post(f"{server.url}/page/data/study/{uuid}/export", timeout=PATIENCE).json()
    answer = signed_in.get(server.url + made["url"], timeout=PATIENCE)
    assert 'filename="PBMC68k_reduced.h5ad"' in answer.headers["content-disposition"]
    assert len(answer.content) == made["bytes"]
    (tmp_path / "study.h5ad").write_bytes(answer.content)
    study = bc.study("PBMC68k_reduced").to_anndata(unit="lognorm")
    assert np.array_equal(ad.read_h5ad(tmp_path / "study.h5ad").X.toarray(), study.X.toarray())


def test_the_page_shows_nothing_before_sign_in(server: Sandbox) -> None:
    for path in ("home", "session", "study/x", "task/x"):
        assert requests.get(f"{server.url}/page/data/{path}", timeout=PATIENCE).status_code == 401


def test_signing_out_ends_the_session_on_the_server(server: Sandbox, signed_in: requests.Session) -> None:
    cookies = dict(signed_in.cookies)
    signed_in.post(f"{server.url}/signout", timeout=PATIENCE)
    assert requests.get(f"{server.url}/page/data/home", cookies=cookies, timeout=PATIENCE).status_code == 401


def test_a_visitor_needs_a_token_even_if_the_sandbox_has_one_user(own: Sandbox) -> None:
    for form in ({}, {"token": "wrong"}, {"token": DEFAULT_TOKEN}, {"invitation": ""}, {"invitation": "wrong"}):
        assert requests.post(f"{own.url}/signin", data=form, timeout=PATIENCE).status_code == 401
    token = own.add_user("colleague@lab")
    with requests.Session() as session:
        answer = session.post(f"{own.url}/signin", data={"token": token}, timeout=PATIENCE)
        assert answer.json() == {"user": "colleague@lab"}
        assert token not in str(dict(session.cookies))


def test_a_sign_in_link_works_once_and_does_not_contain_the_token(own: Sandbox) -> None:
    link = own.sign_in_link()
    assert own.token not in link
    form = {"invitation": link.partition("#sign-in=")[2]}
    first, second = (requests.post(f"{own.url}/signin", data=form, timeout=PATIENCE) for _ in range(2))
    assert first.json() == {"user": own.email}
    assert (second.status_code, second.json()["detail"]) == (
        401,
        "this link is invalid or was already used: sign in with the token",
    )
    links = [own.sign_in_link() for _ in range(120)]
    assert len(own._state.invitations) == 100
    assert links[-1].partition("#sign-in=")[2] in own._state.invitations


def test_a_personal_study_is_not_shown_to_another_user(own: Sandbox) -> None:
    counts = sparse.csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3))
    submission = ad.AnnData(counts).biocolab.submit(group="personal", study_id="private", skip_dimred=True)
    token = own.add_user("colleague@lab")
    with requests.Session() as session:
        session.post(f"{own.url}/signin", data={"token": token}, timeout=PATIENCE)
        home = _data(own, session, "home")
        assert [study["id"] for group in home["groups"] for study in group["studies"]].count("private") == 0
        uuid = submission.study_info["uuid"]
        for path in (f"study/{uuid}", f"study/{uuid}/barcodes", f"task/{submission.task_id}"):
            assert session.get(f"{own.url}/page/data/{path}", timeout=PATIENCE).status_code == 404
        for path in (f"study/{uuid}/export", f"task/{submission.task_id}/cancel"):
            assert session.post(f"{own.url}/page/data/{path}", timeout=PATIENCE).status_code == 404


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Host": "evil.example:80"}, {"Host": "127.0.0.1.evil"}])
def test_a_foreign_host_name_does_not_get_the_page(server: Sandbox, header: dict[str, str]) -> None:
    assert requests.post(f"{server.url}/signin", headers=header, timeout=PATIENCE).status_code == 403


def test_another_site_cannot_post(server: Sandbox, signed_in: requests.Session) -> None:
    foreign = {"Origin": "http://evil.example"}
    uuid = _public(server, signed_in, "PBMC68k_reduced")
    for path in ("/signin", "/signout", f"/page/data/study/{uuid}/export", "/page/data/task/x/cancel"):
        assert signed_in.post(server.url + path, headers=foreign, timeout=PATIENCE).status_code == 403


def test_the_page_loads_nothing_from_other_hosts(server: Sandbox) -> None:
    answer = requests.get(server.url, timeout=PATIENCE)
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert "//" not in answer.text
    for name in ("../server.py", "%2e%2e/server.py", "nothing.js"):
        assert requests.get(f"{server.url}/page/{name}", timeout=PATIENCE).status_code == 404


def test_a_submission_links_to_its_page_before_and_after_the_commit(server: Sandbox) -> None:
    counts = sparse.csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3))
    submission = ad.AnnData(counts).biocolab.submit(study_id="page", skip_dimred=True, wait=False)
    assert submission.url == f"{server.url}/task/{submission.task_id}"
    submission.wait()
    assert submission.url == f"{server.url}/study/{submission.study_info['uuid']}"
    assert f"<a href='{submission.url}'" in submission._repr_html_()


def test_a_task_is_cancelled_from_its_page_while_it_waits() -> None:
    with bc.sandbox() as own, requests.Session() as session:
        session.post(f"{own.url}/signin", data={"token": own.token}, timeout=PATIENCE)
        catalog, go_on = own._state.catalog, threading.Event()
        first, second = (catalog.add_task(own.email, "submit", {}, "")[0] for _ in range(2))
        for task in (first, second):
            own._state.tasks.run(task.id, lambda: {"uuid": str(go_on.wait(PATIENCE))})
        cancelled = session.post(f"{own.url}/page/data/task/{second.id}/cancel", timeout=PATIENCE).json()
        assert cancelled == {"cancelled": True}
        assert _data(own, session, f"task/{second.id}")["status"] == "ERROR"
        assert _data(own, session, f"task/{first.id}")["status"] in ("PENDING", "RUNNING")
        go_on.set()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, if it is installed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments.append("--host-resolver-rules=MAP evil.example 127.0.0.1")  # DNS rebinding
    with sync_api.sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=program, args=arguments)
        except sync_api.Error as error:
            pytest.skip(f"there is no Chromium here: {str(error).splitlines()[0]}")
        yield running
        running.close()


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    """A window with a new profile; an error in a script of the page fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    window = context.new_page()
    mistakes: list[str] = []
    window.on("pageerror", lambda error: mistakes.append(str(error)))
    yield window
    context.close()
    assert mistakes == []


def test_a_user_clicks_from_the_list_to_colored_cells_and_the_download(
    own: Sandbox, window: Any, tmp_path: Any
) -> None:
    window.goto(own.sign_in_link())
    window.get_by_role("link", name="PBMC68k_reduced").click()
    window.wait_for_url("**/study/**")
    window.locator(".key").get_by_text("CD14+ Monocyte").wait_for()
    assert window.get_by_text("700 cells \N{MULTIPLICATION SIGN} 765 genes").is_visible()
    first = _picture(window)
    window.get_by_role("radio", name="louvain").check()
    window.locator(".meaning h2", has_text="louvain").wait_for()
    second = _picture(window)
    window.get_by_role("combobox", name="Gene").fill("cd79a")
    window.get_by_role("option", name="CD79A").click()
    window.locator(".meaning h2", has_text="CD79A").wait_for()
    third = _picture(window)
    assert len({first, second, third}) == 3
    window.reload()
    window.locator(".meaning h2", has_text="CD79A").wait_for()
    with window.expect_download() as download:
        window.get_by_role("button", name="Download h5ad").click()
    download.value.save_as(tmp_path / "study.h5ad")
    assert ad.read_h5ad(tmp_path / "study.h5ad").shape == (700, 765)


def test_the_page_works_with_the_keyboard_alone(own: Sandbox, window: Any) -> None:
    window.goto(own.sign_in_link())
    window.get_by_role("link", name="PBMC68k_reduced").focus()
    window.keyboard.press("Enter")
    window.locator(".key").get_by_text("CD14+ Monocyte").wait_for()
    window.get_by_role("combobox", name="Gene").focus()
    window.keyboard.type("nkg7")
    window.get_by_role("option", name="NKG7").wait_for()
    window.keyboard.press("Enter")
    window.locator(".meaning h2", has_text="NKG7").wait_for()
    plot = window.get_by_role("application")
    plot.focus()
    before = _picture(window)
    window.keyboard.press("+")
    window.keyboard.press("ArrowLeft")
    assert _picture(window) != before
    window.keyboard.press("0")
    window.keyboard.press("Enter")
    assert "NKG7: " in window.locator(".tip").inner_text()


def test_the_page_follows_a_task_until_it_is_a_study(own: Sandbox, window: Any) -> None:
    submission = celltypist_sample().biocolab.submit(study_id="followed", wait=False)
    _sign_in(window, own, submission.url)
    window.get_by_role("log").get_by_text("Reading batch").wait_for()
    submission.wait()
    window.get_by_role("link", name="Open followed").click()
    window.locator(".meaning h2").wait_for()
    assert window.get_by_label("Embedding", exact=True).first.is_visible()
    assert window.get_by_text("559 cells \N{MULTIPLICATION SIGN} 32,786 genes").is_visible()


def test_the_page_shows_how_to_commit_a_processed_task_and_open_a_study(own: Sandbox, window: Any) -> None:
    adata = ad.AnnData(np.eye(9, dtype=np.float32) + 1, obs=pd.DataFrame({"cell/type": ["a", "b", "c"] * 3}))
    submission = adata.biocolab.submit(study_id="open", skip_dimred=True, wait=False)
    _sign_in(window, own, submission.url)
    window.locator(".state", has_text="Processed").wait_for()
    line = window.locator(".snippet code").inner_text().splitlines()[-1]
    study = eval(line.removeprefix("study = "), {"bc": bc})
    assert study.n_obs == 9
    window.get_by_role("link", name="Open open").click()
    window.get_by_text("Open in Python").click()
    line = window.locator(".snippet code").inner_text().splitlines()[-1]
    assert list(eval(line.removeprefix("adata = "), {"bc": bc}).obs["cell/type"]) == ["a", "b", "c"] * 3
    assert window.get_by_role("radio", name="cell/type").count() == 1


_EVIL = "<img src=x onerror=\"document.title='broken into'\">"


def test_names_of_data_are_text_and_never_markup(own: Sandbox, window: Any) -> None:
    obs = pd.DataFrame({_EVIL: pd.Categorical([_EVIL, "b"] * 5)}, index=[f"{_EVIL}{i}" for i in range(10)])
    adata = ad.AnnData(np.eye(10, dtype=np.float32) + 1, obs, pd.DataFrame(index=[f"{_EVIL}{i}" for i in range(10)]))
    text = {"title": _EVIL, "authors": [_EVIL], "cell_type": _EVIL}
    own.add_study(_EVIL, adata, reference="javascript:document.title='broken into'", **text)
    adata.obsm[f"X_{_EVIL}"] = np.eye(10)[:, :2]
    own.add_study(f"places {_EVIL}", adata, reference=f"https://elsewhere.example/{_EVIL}", **text)
    own.add_group("evil", _EVIL, [own.email])
    own.add_user(_EVIL)
    catalog = own._state.catalog
    public = next(record for record in catalog.studies(own.email) if record.hash_id == f"places {_EVIL}")
    mine = replace(public, uuid="0" * 32, abstract=_EVIL, group_id="evil", owner=own.email)
    shutil.copytree(own.path / "studies" / public.uuid, own.path / "studies" / mine.uuid)
    catalog.add_study(mine)
    failed = catalog.add_task(own.email, "submit", {"hash_id": f"failed {_EVIL}", "title": _EVIL}, "")[0]
    catalog.log_line(failed.id, f"ERROR: {_EVIL}")
    catalog.set_task(failed.id, "ERROR")

    def expect(place: str, shown: str = _EVIL) -> None:
        """The text is there, and made nothing but text."""
        window.locator(place, has_text=shown).first.wait_for()
        assert window.locator("main img").count() == 0
        assert "broken into" not in window.title().replace(_EVIL, "")
        links = window.locator("main a").evaluate_all("all => all.map((a) => new URL(a.href).origin)")
        assert set(links) <= {own.url, "https://elsewhere.example"}

    window.goto(own.sign_in_link())
    for place in ("h2", "td.title", "th a"):
        expect(place)
    window.get_by_role("link", name=_EVIL, exact=True).first.click()
    for place in (".about", "h1", ".fields", ".chart caption", ".chart th"):
        expect(place)
    expect(".about", "javascript:document.title")
    expect(".python", 'bc.study("<img src=x onerror=\\"')
    window.goto(f"{own.url}/study/{mine.uuid}")
    for place in (".abstract", ".crumbs", ".subtitle", "#embedding", ".key"):
        expect(place)
    expect(".stage", "<img src=x")
    window.get_by_role("combobox", name="Gene").fill("img")
    expect("#gene-options")
    window.keyboard.press("Enter")
    expect(".meaning h2")
    plot = window.get_by_role("application")
    plot.focus()
    window.keyboard.press("Enter")
    expect(".tip")
    window.goto(f"{own.url}/study/{mine.uuid}?gene={quote('no ' + _EVIL)}")
    expect(".problem", f"no {_EVIL}")
    window.goto(f"{own.url}/task/{failed.id}")
    for place in (".reason", ".log", "h1", ".subtitle"):
        expect(place)
    for view in ("study", "task"):
        window.goto(f"{own.url}/{view}/{quote(_EVIL)}")
        expect("h1", "Not found")


def test_a_page_that_rebinds_its_own_name_gets_nothing_with_the_token(own: Sandbox, window: Any) -> None:
    bc.groups()
    answer = window.goto(f"http://evil.example:{own.url.rpartition(':')[2]}/")
    assert answer.status == 403
    ask = """([path, token]) => fetch(path, {method: "POST", body: "{}", headers: {"bioturing-api-token": token}})
        .then(async (answer) => [answer.status, await answer.text()])"""
    routes = ["get_user_groups", "add_file_upload", "upload_chunk", "submit_study_from_local", "study/get_barcodes"]
    before = len(own.requests)
    for path in (f"/t2d_index_tool/api/v1/{route}" for route in routes):
        status, said = window.evaluate(ask, [path, own.token])
        assert (status, "is not a name of this sandbox" in said) == (403, True)
    assert window.evaluate("fetch('/signin', {method: 'POST'}).then((answer) => answer.status)") == 403
    assert len(own.requests) == before


def test_another_user_signs_in_with_a_token(own: Sandbox, window: Any) -> None:
    token = own.add_user("colleague@lab")
    link = own.sign_in_link()
    own._state.invitations.clear()  # as after a first visit
    window.goto(link)
    window.get_by_text("this link is invalid or was already used: sign in with the token").wait_for()
    assert "#" not in window.url
    window.get_by_label("API token").fill("wrong")
    window.get_by_role("button", name="Sign in").click()
    window.get_by_text("the token is not accepted").wait_for()
    window.get_by_label("API token").fill(token)
    window.keyboard.press("Enter")
    window.get_by_text("colleague@lab").first.wait_for()
    window.get_by_role("button", name="Sign out").click()
    window.get_by_text("You are signed out.").wait_for()
    window.reload()
    window.get_by_label("API token").wait_for()


def _sign_in(window: Any, own: Sandbox, url: str) -> None:
    """Open the address of a submission and sign in."""
    window.goto(url)
    window.get_by_label("API token").fill(own.token)
    window.keyboard.press("Enter")


def _picture(window: Any) -> bytes:
    """A screenshot of the plot once it has stopped changing."""
    window.wait_for_timeout(150)
    return bytes(window.get_by_role("application").screenshot())
