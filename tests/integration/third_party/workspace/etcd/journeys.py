import base64
import uuid

import httpx
from locust import task

from faultload.load import Journey, acknowledge, attempt, verifies


def encoded(text):
    return base64.b64encode(text.encode()).decode()


class Write(Journey):
    @task
    def put(self):
        key = str(uuid.uuid4())
        attempt(key)
        answer = self.client.post("/v3/kv/put", json={"key": encoded(key), "value": encoded("set")}, name="put")
        if answer.status_code == 200:
            acknowledge(key)


class Read(Journey):
    @task
    def range(self):
        self.client.post(
            "/v3/kv/range", json={"key": encoded("a"), "range_end": encoded("b"), "limit": 5}, name="range"
        )


@verifies("settings")
def settings_in_etcd(keys, target):
    with httpx.Client(base_url=target["url"], timeout=5, trust_env=False) as client:
        return {key for key in keys if is_set(client, key)}


def is_set(client, key):
    answer = client.post("/v3/kv/range", json={"key": encoded(key), "count_only": True}).raise_for_status()
    return answer.json().get("count") == "1"
