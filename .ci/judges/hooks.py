"""What schemathesis cannot know from the document, because JSON Schema has no words for it.

A body that schemathesis believes to be right is completed by these rules before it is sent, so that it gets past the
first check. Where that is not possible, a refusal that names such a rule, and nothing else, is not a failure.
"""

import base64
import hashlib
import json
import os
import re

import schemathesis
from schemathesis.generation import GenerationMode

# The refusals that are right though the document allows the value: the field, what is said of it, and why.
UNSPOKEN_RULES = [
    # A cursor is opaque; the document cannot say which texts are one.
    (r"cursor", r"must be the nextCursor of a page of this list"),
    # Which hosts and ports exist is for a URL parser to say; a pattern would refuse good ones.
    (r"imageUrl", r"must be an http\(s\) URL"),
    # The same for addresses: `format: email` means different things to different validators.
    (r"email", r"must be an e-mail address"),
    # Names are trimmed, and must not look like another by characters that nobody sees.
    (r"name", r"must have (no (control|address|telephone|word)|1 to \d+ |a letter|at most \d+ different|letters of one)"),
    # Which passwords are easy to guess no pattern can say.
    (r"password|newPassword", r"is too easy to guess|must have \d+ to \d+ characters"),
    # They are trimmed, and have no characters that nobody sees.
    (r"paymentReference|reason", r"must have (\d+ to \d+ characters|no control)"),
    # How much stock a product has already is not in the request.
    (r"quantity", r"would lift the stock above"),
    # A change may move one end of a sale alone; the other end is the product's.
    (r"saleStartTime|saleEndTime", r"must be later than saleStartTime"),
    # Only those who see everybody's purchases may ask for one buyer's.
    (r"userId", r"is not a known parameter"),
    # Words cannot be counted.
    (r"search", r"must have at most \d+ different words"),
]


# The newest `nextCursor` of each list.
CURSORS = {}
# An account that nothing else needs: its role and its access are changed, and not those of the run.
SPARE_ID = json.loads(base64.urlsafe_b64decode(os.environ["SPARE_TOKEN"].split(".")[1] + "=="))["sub"]


@schemathesis.hook
def after_call(context, case, response):
    """Remembers the cursors of lists."""
    if response.status_code == 200 and response.headers.get("content-type") == ["application/json"]:
        answer = response.json()
        if isinstance(answer, dict) and answer.get("nextCursor"):
            CURSORS[case.path] = answer["nextCursor"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes a right request fit the rules that would refuse nearly every generated one."""
    if case.path == "/users/{id}" and case.method.upper() == "PATCH":
        case.path_parameters["id"] = SPARE_ID
    if not is_right(case):
        return
    if "cursor" in (case.query or {}):
        if case.path in CURSORS:
            case.query["cursor"] = CURSORS[case.path]
        else:
            del case.query["cursor"]
    # The version in the example is seldom that of a product.
    if (case.headers or {}).get("If-Match") == '"8-live"':
        case.headers["If-Match"] = "*"
    # A key belongs to one body: with another it is refused.
    if "Idempotency-Key" in (case.headers or {}) and isinstance(case.body, dict):
        digest = hashlib.sha256(json.dumps(case.body, sort_keys=True).encode()).hexdigest()
        case.headers["Idempotency-Key"] = f"{digest}{case.headers['Idempotency-Key']}"[:255]
    if not isinstance(case.body, dict):
        return
    body = case.body
    # Each has to be a currency that exists, which three letters seldom are.
    for member in ("price", "originalPrice", "expectedPrice", "amount"):
        if isinstance(body.get(member), dict) and "currency" in body[member]:
            body[member]["currency"] = "USD"
    # A sale ends after it starts.
    if isinstance(body.get("saleStartTime"), str) and isinstance(body.get("saleEndTime"), str):
        body["saleStartTime"], body["saleEndTime"] = "2025-01-01T00:00:00Z", "2099-12-31T00:00:00Z"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """False for a refusal that names only rules from the list above, and for what OpenAPI 3.1 cannot say."""
    # It knows an event stream only as one text; schemathesis holds each event against that. The project's own tests
    # check every event.
    if case.path == "/products/{id}/events" and type(failure).__name__ == "JsonSchemaError":
        return response.status_code != 200
    # An empty query parameter means none, whatever its pattern is.
    if type(failure).__name__ == "AcceptedNegativeData" and "" in (case.query or {}).values():
        return False
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code != 422:
        return True
    problem = response.json()
    # Whether a key was used before is not in the request, nor is what the purchase costs.
    if problem.get("code") in ("idempotency_key_reused", "amount_mismatch"):
        return False
    errors = problem.get("errors") or []
    return not errors or not all(map(is_unspoken, errors))


def is_right(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


def is_unspoken(error):
    return any(
        re.fullmatch(field, error["field"]) and re.match(message, error["message"]) for field, message in UNSPOKEN_RULES
    )
