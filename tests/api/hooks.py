"""Credentials for schemathesis: as many users and operators as it takes, because each of them may ask only so often."""

import base64
import hashlib
import hmac
import itertools
import json
import os
import time

import schemathesis

SECRET = os.environ["JWT_SECRET"].encode()
ADMIN_TOKEN = os.environ["TANDEM_ADMIN_TOKEN"]
# Those of whom the test has records.
USERS = int(os.environ["TEST_USERS"])
NUMBERS = itertools.count()


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(user, **claims):
    claims = {"sub": user, "exp": int(time.time()) + 600, **claims}
    signed = b".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (signed + b"." + encoded(hmac.new(SECRET, signed, hashlib.sha256).digest())).decode()


@schemathesis.auth(refresh_interval=None)
class Credentials:
    """What the operation's document asks for, of another user or operator each time."""

    def get(self, case, context):
        number = next(NUMBERS)
        schemes = {name for one in case.operation.definition.raw.get("security", []) for name in one}
        if "adminToken" in schemes:
            return ADMIN_TOKEN
        # Where both may ask, they do so by turns.
        if "operator" in schemes and ("userToken" not in schemes or number % 2):
            return token(f"operator-{number}", scope="tandem:operate")
        if "userToken" in schemes:
            return token(f"user-{number % USERS}" if number % 4 else f"stranger-{number}")
        return None

    def set(self, case, data, context):
        if data is not None:
            case.headers = case.headers or {}
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    """No model server is looked for beyond this machine."""
    body = case.body
    if case.operation.path == "/admin/upstreams" and isinstance(body, dict) and isinstance(body.get("url"), str):
        if body["url"].strip().lower().startswith("ws"):
            case.body = {**body, "url": "ws://127.0.0.1:9"}
