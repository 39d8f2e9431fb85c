"""A shop after years: whether stored purchases slow down new ones, or reading."""

from urllib.parse import quote

from ..lab import per_second
from ..results import Result, Row
from .selling import CONNECTIONS, STOCK


def history(lab):
    """An empty shop beside one with millions of purchases, in the same MongoDB."""
    count = lab.options.history
    result = Result("history", f"{count:,} stored purchases")
    seconds = lab.seconds(6, 1.5)
    full, empty, hot = [], [], []
    with lab.mongod() as mongod:
        database = lab.name("history")
        products = max(10, min(1000, count // 1000))
        stored = lab.bench("history", "--mongo-uri", mongod.base, "--database", database, "--purchases", count,
                           "--products", products)
        with lab.flash_sale(mongod, database) as server, lab.flash_sale(mongod) as fresh:
            for repeat in lab.repeats(result):
                for phases, shop in ((empty, fresh), (full, server)):
                    product = lab.put_on_sale(shop, STOCK)
                    lab.buying(shop, product, 0.5, CONNECTIONS, tokens=2_000)
                    phases.append(lab.buying(shop, product, seconds, CONNECTIONS))
                hot.append(lab.buying(server, stored["hotProduct"], seconds, CONNECTIONS))
            result.rows = [
                Row("a new product", "purchases/s", [per_second(phase) for phase in full],
                    [per_second(phase) for phase in empty], "empty shop", ">= 0.8"),
                Row(f"a product with {stored['hotPurchases']:,} purchases", "purchases/s",
                    [per_second(phase) for phase in hot], [per_second(phase) for phase in empty], "empty shop"),
            ]
            pages(lab, result, server, stored)
    result.raw += [{"stored": stored, "full": full, "empty": empty, "hot": hot}]
    return result


def pages(lab, result, server, stored):
    """The first page of each list beside one from its middle, requested by one client."""
    hot, collector = f"/leaderboard?productId={stored['hotProduct']}", stored["collector"]
    for name, path, cursor, who in (
            ("leaderboard of one product", hot, stored["hotCursor"], {}),
            ("leaderboard of all", "/leaderboard", stored["everythingCursor"], {}),
            (f"own purchases, of {stored['collectorPurchases']:,}", "/purchases", stored["collectorCursor"],
             {"tokens": 1, "user": collector})):
        first, deep = [], []
        separator = "&" if "?" in path else "?"
        for repeat in lab.repeats(result):
            for phases, one in ((first, path), (deep, f"{path}{separator}cursor={quote(cursor)}")):
                phase = lab.crowd(server, method="GET", path=one, connections=1, duration=lab.seconds(2, 0.5), **who)[0]
                phases.append(phase)
        page = [phase["answers"][0]["p50Ms"] for phase in deep]
        result.rows.append(Row(f"{name}: a page in the middle, p50", "ms", page,
                               [phase["answers"][0]["p50Ms"] for phase in first], "first page", "<= 2"))
        result.raw.append({"what": name, "first": first, "deep": deep})
