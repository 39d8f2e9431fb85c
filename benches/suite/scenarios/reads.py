"""Most visitors only look: the cost of a read, beside answering the same bytes without a database."""

import statistics

from ..results import Result, Row
from .refusals import same_answer

CONNECTIONS = 256
PRODUCTS = 50


def reads(lab):
    """The catalogue, a product, and the first page of its leaderboard."""
    result = Result("reads", f"Reads, {CONNECTIONS} connections, beside routing and answering the same bytes")
    seconds = lab.seconds(4, 1)
    with lab.mongod() as mongod, lab.flash_sale(mongod) as server:
        products = [lab.put_on_sale(server, 1_000, name=f"Limited sneaker {number}") for number in range(PRODUCTS)]
        product = products[0]
        lab.buying(server, product, 30, 100, tokens=500)
        for name, path, conditional in (
                ("the catalogue", "/products", False),
                ("a product", f"/products/{product}", False),
                ("a product, unchanged (304)", f"/products/{product}", True),
                ("the leaderboard", f"/leaderboard?productId={product}", False)):
            read(lab, result, mongod, server, name, path, conditional, seconds)
    return result


def read(lab, result, mongod, server, name, path, conditional, seconds):
    tag = None
    if conditional:
        tag = next(value for key, value in lab.request(server, "GET", path)[1] if key.lower() == "etag")
    answer = lab.request(server, "GET", path, headers={"If-None-Match": tag} if tag else ())
    options = {"method": "GET", "path": path, "if_none_match": tag, "connections": CONNECTIONS, "duration": seconds}
    ours, rival, operations = [], [], []
    with lab.rival("token-only", *same_answer(lab, answer)) as yardstick:
        for repeat in lab.repeats(result):
            rival.append(lab.crowd(yardstick, **options)[0])
            before = lab.operations(mongod)
            ours.append(lab.crowd(server, **options)[0])
            operations.append((lab.operations(mongod) - before) / ours[-1]["seconds"])
    result.rows.append(Row(name, "answers/s", [phase["goodPerSecond"] for phase in ours],
                           [phase["goodPerSecond"] for phase in rival], "same bytes", ">= 0.8"))
    result.notes.append(f"{name}: {statistics.median(operations):.0f} database operations/s meanwhile, status "
                        f"{answer[0]}, {len(answer[2])} bytes")
    result.raw.append({"what": name, "ours": ours, "token-only": rival})
