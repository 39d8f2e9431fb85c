"""Most buyers get nothing: the cost of a refusal, beside answering the same bytes without looking."""

import datetime
import json
import statistics

from ..results import Result, Row

CONNECTIONS = 256
BUYERS = 20_000
# Set by hyper for each answer, or by the client.
NOT_COPIED = {"date", "content-length", "connection"}


def same_answer(lab, answer):
    """The arguments that make `token-only` answer like this."""
    status, headers, body = answer
    path = lab.scratch / lab.name("answer")
    path.write_bytes(body)
    arguments = ["--status", status, "--answer", path]
    for name, value in headers:
        if name.lower() not in NOT_COPIED:
            arguments += ["--header", f"{name}:{value}"]
    return arguments


def in_seconds(seconds):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def prepared(lab, server):
    """Creates a product for each kind of refusal."""
    sold_out = lab.put_on_sale(server, 100)
    lab.buying(server, sold_out, 10, 50, tokens=100)
    ended = lab.put_on_sale(server, 100, end=in_seconds(3))
    lab.buying(server, ended, 10, 10, tokens=10)
    not_started = lab.put_on_sale(server, 100, start="2098-01-01T00:00:00Z")
    lab.wait_until(server, ended, "ended")
    lab.wait_until(server, sold_out, "sold_out")
    return {"sold out": sold_out, "not started": not_started, "ended": ended}


def refusals(lab):
    """Each refusal, without and with an Idempotency-Key."""
    result = Result("refusals", f"Refusals, {CONNECTIONS} connections, beside checking the token and answering the same")
    seconds = lab.seconds(4, 1)
    with lab.mongod() as mongod, lab.flash_sale(mongod) as server:
        for name, product in prepared(lab, server).items():
            body = {"productId": product}
            options = {"tokens": BUYERS, "connections": CONNECTIONS, "duration": seconds,
                       "body": json.dumps(body, separators=(",", ":"))}
            headers = {"Authorization": f"Bearer {lab.token()}"}
            answer = lab.request(server, "POST", "/products/purchase", body, headers)
            for keys in (False, True):
                ours, rival = [], []
                operations = []
                with lab.rival("token-only", *same_answer(lab, answer)) as yardstick:
                    for repeat in lab.repeats(result):
                        rival.append(lab.crowd(yardstick, keys=keys, **options)[0])
                        before = lab.operations(mongod)
                        ours.append(lab.crowd(server, keys=keys, **options)[0])
                        operations.append((lab.operations(mongod) - before) / ours[-1]["seconds"])
                what = f"{name}, {'with' if keys else 'without'} a key"
                result.rows.append(Row(what, "answers/s", [phase["goodPerSecond"] for phase in ours],
                                       [phase["goodPerSecond"] for phase in rival], "token only", ">= 0.9"))
                result.notes.append(f"{what}: {statistics.median(operations):.0f} database operations/s meanwhile, "
                                    f"status {answer[0]}, {len(answer[2])} bytes")
                result.raw.append({"what": what, "ours": ours, "token-only": rival})
    return result
