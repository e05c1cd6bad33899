"""The page of a local cluster in a real browser: a person cuts ways and kills nodes, and sees what each keyspace does.

`CLIENT_TEST_PAGES` lists the nodes' pages, separated by commas; `CLIENT_TEST_BROWSER` is a Chromium, `CLIENT_TEST_SCREENS` a folder for pictures.
"""

import os
import shutil

import redis
from playwright.sync_api import expect, sync_playwright

from common import NODES, fails, run, same, true, until

PAGES = os.environ["CLIENT_TEST_PAGES"].split(",")
SCREENS = os.environ.get("CLIENT_TEST_SCREENS")
LIMIT = 30_000


def connect(node):
    host, port = NODES[node]
    return redis.Redis(host=host, port=port, socket_timeout=30, decode_responses=True)


def writes(node, key):
    try:
        return connect(node).set(key, "1")
    except redis.RedisError:
        return False


def picture(page, name):
    if SCREENS:
        page.screenshot(path=os.path.join(SCREENS, f"{name}.png"), full_page=True)


def create():
    r = connect(0)
    for prefix, *options in [("cart:", "multi-primary"), ("p:", "primary-replica", "ACK", "sync"), ("seen:", "leaderless")]:
        r.execute_command("KEYSPACE", "CREATE", prefix, "STRATEGY", *options)
        for node in range(len(NODES)):
            until(lambda: writes(node, f"{prefix}ready"), f"{prefix} at node {node}")


def fares(page, prefix):
    """What the page says of writes and of reads of a keyspace."""
    cells = page.locator("#keyspaces tr", has_text=prefix).locator("td")
    return cells.nth(2), cells.nth(3)


# Ways are drawn anew when anything changes: an event is given to what is there, where a click may aim at what has just gone.
def browse(browser):
    errors = []

    def opened(address):
        page = browser.new_page(viewport={"width": 1100, "height": 1400})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        expect(page.locator("#banner")).to_have_text("All nodes can be reached from here.", timeout=LIMIT)
        expect(page.locator("#playground")).to_be_visible(timeout=LIMIT)
        return page

    def looks():
        page = opened(PAGES[0])
        same(page.title(), "Consort")
        expect(page.locator("#nodes tr")).to_have_count(3)
        expect(page.locator("#keyspaces tr")).to_have_count(4, timeout=LIMIT)
        for prefix in ["(all other keys)", "cart:", "p:", "seen:"]:
            for cell in fares(page, prefix):
                expect(cell).to_have_text("accepted", timeout=LIMIT)
        same(page.locator("#map .way").count(), 3)
        picture(page, "all-is-well")

    def cut_off():
        """n3 is cut off: what is refused there and goes on here is what clients find."""
        here, there = opened(PAGES[0]), opened(PAGES[2])
        here.locator("#part-n3").click()
        expect(here.locator("#map line.cut")).to_have_count(2, timeout=LIMIT)
        expect(here.locator("#banner")).to_contain_text("n3 has not been heard for", timeout=LIMIT)
        expect(there.locator("#banner")).to_contain_text("n1 has not been heard for", timeout=LIMIT)
        for prefix, said in [("(all other keys)", "refused"), ("cart:", "accepted"), ("seen:", "refused")]:
            expect(fares(there, prefix)[0]).to_have_text(said, timeout=LIMIT)
            expect(fares(here, prefix)[0]).to_have_text("accepted", timeout=LIMIT)
        expect(there.locator("#events")).to_contain_text("n1 cannot be reached from here", timeout=LIMIT)
        expect(there.locator("#events")).to_contain_text("all other keys: writes refused, reads refused", timeout=LIMIT)
        picture(here, "n3-cut-off-seen-from-n1")
        picture(there, "n3-cut-off-seen-from-n3")
        fails(redis.RedisError, "", connect(2).set, "a", "1")
        fails(redis.RedisError, "", connect(2).set, "seen:a", "1")
        same(connect(2).set("cart:there", "1"), True)
        until(lambda: writes(0, "a"), "the other side to take writes")
        same(connect(0).exists("cart:there"), 0)
        here.locator("#part-n3").click()
        expect(here.locator("#map line.cut")).to_have_count(0, timeout=LIMIT)
        for page in (here, there):
            expect(page.locator("#banner")).to_have_text("All nodes can be reached from here.", timeout=LIMIT)
        until(lambda: connect(0).get("cart:there") == "1", "what was written meanwhile")
        until(lambda: writes(2, "a"), "writes at the one that was cut off")

    def one_way():
        page = opened(PAGES[1])
        page.locator("#way-n1-n2 line.hit").dispatch_event("click")
        expect(page.locator("#map line.cut")).to_have_count(1, timeout=LIMIT)
        expect(page.locator("#banner")).to_contain_text("n1 has not been heard for", timeout=LIMIT)
        # Both still reach n3.
        until(lambda: writes(1, "b"), "writes by way of n3")
        # With keys, too.
        page.locator("#way-n1-n2").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#map line.cut")).to_have_count(0, timeout=LIMIT)
        page.locator("#way-n2-n3 line.hit").dispatch_event("click")
        page.locator("#way-n1-n3 line.hit").dispatch_event("click")
        expect(page.locator("#map line.cut")).to_have_count(2, timeout=LIMIT)
        page.locator("#heal").click()
        expect(page.locator("#map line.cut")).to_have_count(0, timeout=LIMIT)
        expect(page.locator("#banner")).to_have_text("All nodes can be reached from here.", timeout=LIMIT)

    def killed():
        page = opened(PAGES[0])
        expect(page.locator("#start-n2")).to_be_disabled()
        page.locator("#kill-n2").click()
        expect(page.locator("#processes tr", has_text="n2")).to_contain_text("down (signal: 9", timeout=LIMIT)
        picture(page, "n2-killed")
        fails(redis.RedisError, "", connect(1).ping)
        until(lambda: writes(0, "c"), "the others to take writes")
        # A way that is cut meanwhile is cut for it, too, once it is back.
        page.locator("#way-n2-n3 line.hit").dispatch_event("click")
        page.locator("#start-n2").click()
        expect(page.locator("#processes tr", has_text="n2")).to_contain_text("up", timeout=LIMIT)
        until(lambda: any(
            row.get("sends_nothing") for row in map(rows, connect(1).execute_command("CONSORT", "FAULT"))
        ), "the way to be cut again")
        page.locator("#heal").click()
        expect(page.locator("#banner")).to_have_text("All nodes can be reached from here.", timeout=LIMIT)
        until(lambda: connect(1).get("c") == "1", "the node to be back")
        true(not errors, f"errors in the page: {errors}")

    return looks, cut_off, one_way, killed


def rows(reply):
    """A row of names and values, as the version of the protocol has it."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))


with sync_playwright() as playwright:
    options = {"executable_path": shutil.which(os.environ["CLIENT_TEST_BROWSER"]), "args": ["--no-sandbox"]}
    browser = playwright.chromium.launch(**options)
    run(create, *browse(browser))
