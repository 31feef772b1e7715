"""The console in a real browser: what it shows, what it refuses to run, and who may see what."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import uvicorn
from browser import Browser
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

from kinema.schema import Verdict
from kinema.serve.console import (
    ConsoleData,
    Health,
    KeyRow,
    LatencyPoint,
    LiveRequest,
    VerdictRow,
    console_router,
    seen_by,
)
from kinema.serve.keys import LOCAL, Key

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
ADMIN, GUEST = Key(id="a", name="admin", admin=True), Key(id="g", name="guest")


def _data(**changes: object) -> ConsoleData:
    health = Health(
        state="ok",
        reasons=(),
        uptime_s=4000.0,
        version="0.1.0",
        models=("nano",),
        waiting=3,
        running=2,
        connections=5,
        backlog=12,
        memory_mb=412.3,
    )
    values: dict[str, object] = {
        "time_s": 1.79e9,
        "health": health,
        "requests": tuple(_request(i) for i in range(30)),
        "latency": tuple(_point(age) for age in range(119, -1, -1) if not 60 < age < 70),
        "verdicts": tuple(_verdict(i) for i in range(60)),
        "allowed": 5310,
        "stopped": 37,
        "usage": (
            KeyRow(key_id="a", name="arm-in-the-lab", requests=4200, actions=67200, milliseconds=84000.0,
                   cost="6.72", currency="EUR", quota_per_day=100_000),
            KeyRow(key_id="g", name=HOSTILE, requests=3, actions=48, milliseconds=60.0,
                   cost="0", currency="EUR"),
            KeyRow(key_id="f", name="demo", requests=63, actions=1000, milliseconds=900.0, cost="0.1",
                   currency="EUR", quota_per_day=1000),
        ),
    }  # fmt: skip
    return ConsoleData(**{**values, **changes})  # type: ignore[arg-type]


def _request(i: int) -> LiveRequest:
    states = ("running", "waiting", "done", "done", "done", "refused", "done", "failed")
    state = states[i % len(states)]
    return LiveRequest(
        id=str(100 - i),
        key_id="ag"[i % 2],
        key_name=("arm-in-the-lab", "guest")[i % 2],
        model="nano",
        body=("panda", "aloha", "ur5e")[i % 3],
        route=("/", "/v1/stream", "/v1/act")[i % 3],
        state=state,  # type: ignore[arg-type]
        age_s=0.4 * i,
        took_ms=18.0 + i if state == "done" else None,
    )


def _point(age: int) -> LatencyPoint:
    wave = 20 + 6 * math.sin(age / 7) + (18 if age in (30, 31, 32) else 0)
    refusals = 9 if age in (30, 31, 32) else 0
    return LatencyPoint(age_s=age, answers=12 - age % 5, refusals=refusals, p50_ms=wave, p95_ms=1.5 * wave)


def _verdict(i: int) -> VerdictRow:
    stopped = i in (4, 23)
    return VerdictRow(
        age_s=1.5 * i,
        key_id="ag"[i % 2],
        body="panda",
        verdict=Verdict(
            allowed=not stopped,
            risk={"collision": 0.06 if stopped else 0.002 + 0.0005 * (i * 7 % 30), "torque": 0.001},
            limit={"collision": 0.03, "torque": 0.05},
            horizon_s=1.0,
            reason="collision with the table in 0.4 s" if stopped else "",
        ),
    )


class Site:
    """A server with nothing but the console; `data` and `key` may be changed while it runs."""

    def __init__(self) -> None:
        self.data = _data()
        self.key: Key | None = LOCAL
        self.secrets: dict[str, Key] = {}
        self.app = FastAPI()
        self.app.include_router(console_router(self._snapshot, self._key_of))

    async def _snapshot(self) -> ConsoleData:
        return self.data

    async def _key_of(self, request: Request) -> Key:
        secret = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = self.secrets.get(secret, self.key)
        if key is None:
            raise HTTPException(401, "an API key is needed")  # as a Refusal becomes in the whole server
        return key


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(site.app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/console"
    server.should_exit = True
    thread.join()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "chromium")
    yield browser
    browser.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_shows_requests_latency_verdicts_usage_and_health(
    site: Site, url: str, browser: Browser, tmp_path: Path, dark: bool
) -> None:
    browser.open(url, dark=dark)
    browser.wait_for("document.querySelectorAll('#usage tbody tr').length == 3")
    text = browser.text()
    for told in ("ok", "nano", "up 67 min", "5,310", "37", "0.7 %", "collision with the table in 0.4 s",
                 "67,200", "6.72 EUR", "67 % of 100,000", "412", "/v1/stream", "arm-in-the-lab"):  # fmt: skip
        assert told in text
    assert browser.run("document.querySelectorAll('#chart polyline').length") == 4  # two lines, broken once
    assert browser.run("document.querySelectorAll('#chart rect.refusals').length") == 3
    assert browser.run("document.querySelectorAll('.strip i').length") == 60
    assert browser.run("document.querySelectorAll('.strip i.stop').length") == 2
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == dark
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.picture(tmp_path / "console.png")
    assert (tmp_path / "console.png").stat().st_size > 20_000
    assert browser.complaints == []
    assert {address.rpartition("/console")[0] for address in browser.requested if "://" in address} == {
        url.removesuffix("/console")
    }


def test_a_hostile_name_is_shown_and_not_run(site: Site, url: str, browser: Browser) -> None:
    browser.open(url)
    browser.wait_for("document.querySelectorAll('#usage tbody tr').length == 3")
    assert "onerror" in browser.run("document.querySelector('#usage').textContent")
    assert browser.run("document.querySelectorAll('main img, main script').length") == 0
    assert browser.run("document.title") == "kinema console"


def test_the_policy_blocks_what_is_not_the_pages_own(url: str, browser: Browser) -> None:
    browser.open(url)
    browser.wait_for("document.querySelectorAll('#usage tbody tr').length == 3")
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', `<img src='https://example.org/x.png' "
        "onerror=\"document.title='owned'\">`); const s = document.createElement('script'); "
        "s.textContent = \"document.title = 'owned'\"; document.body.append(s); 0"
    )
    browser.wait_for("true")
    assert browser.run("document.title") == "kinema console"
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)


def test_the_page_follows_the_server_and_says_when_it_is_gone(site: Site, url: str, browser: Browser) -> None:
    browser.open(url)
    browser.wait_for("document.querySelector('#health').textContent == 'ok'")
    health = replace(site.data.health, state="refusing", reasons=("the usage journal cannot be written",))
    site.data = replace(
        site.data, health=health, requests=(), latency=(), usage=(), verdicts=(), allowed=0, stopped=0
    )
    browser.wait_for("document.querySelector('#health').textContent == 'refusing'")
    text = browser.text()
    for told in (
        "journal cannot be written",
        "No request yet",
        "Nothing was used",
        "Nothing was judged",
        "no answer in the last",
    ):
        assert told in text
    browser.run("window.fetch = () => Promise.reject(new TypeError('gone')); 0")
    browser.wait_for("document.querySelector('#health').textContent == 'no answer'")
    assert "The server does not answer" in browser.text()


def test_a_key_is_asked_for_and_its_owner_sees_own_rows(site: Site, url: str, browser: Browser) -> None:
    site.key, site.secrets = None, {"kin_guest": GUEST}
    browser.open(url)
    browser.wait_for("!document.querySelector('#door').hidden")
    assert "arm-in-the-lab" not in browser.text()
    enter = (
        "(s => {document.querySelector('#secret').value = s; document.querySelector('form button').click()})"
    )
    browser.run(f"{enter}('kin_wrong')")
    browser.wait_for("document.querySelector('#refused').textContent.includes('unknown')")
    browser.run(f"{enter}('kin_guest')")
    browser.wait_for("document.querySelectorAll('#usage tbody tr').length == 1")
    assert (
        browser.run(
            "document.querySelector('#secret').value + JSON.stringify({...localStorage, ...sessionStorage})"
        )
        == "{}"
    )
    assert "arm-in-the-lab" not in browser.text()
    site.secrets = {}  # revoked while the page is open
    browser.wait_for("!document.querySelector('#door').hidden")


def test_numbers_need_a_key_and_the_page_has_none(site: Site) -> None:
    client = TestClient(site.app)
    site.key = None
    page = client.get("/console")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "arm-in-the-lab" not in page.text
    refused = client.get("/console/data")
    assert (refused.status_code, "health" in refused.text) == (401, False)
    site.key = ADMIN
    told = client.get("/console/data")
    assert told.headers["cache-control"] == "no-store"
    assert [row["name"] for row in told.json()["usage"]] == ["arm-in-the-lab", HOSTILE, "demo"]


def test_nothing_of_others_reaches_a_key_that_is_no_admins() -> None:
    data = _data()
    assert seen_by(ADMIN, data) == data
    seen = seen_by(GUEST, data)
    for rows, of_all in (
        (seen.requests, data.requests),
        (seen.verdicts, data.verdicts),
        (seen.usage, data.usage),
    ):
        assert rows == tuple(row for row in of_all if row.key_id == "g")
        assert 0 < len(rows) < len(of_all)


def test_the_page_names_no_outside_resource() -> None:
    page = (files("kinema.serve") / "console.html").read_text()
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+", re.sub(r"(^|\s)//[^\n]*", "", page)))
    assert addresses == {"http://www.w3.org"}  # the name of SVG, which nobody fetches
    assert not re.search(r"\b(innerHTML|outerHTML|document\.write|eval)\b", page)
    assert not re.search(r"<[^>]+\son\w+=", page)
