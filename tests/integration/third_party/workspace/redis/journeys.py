import uuid

import httpx
from locust import task

from faultload.load import Journey, acknowledge, attempt, verifies


class Order(Journey):
    @task
    def order(self):
        order = str(uuid.uuid4())
        attempt(order)
        answer = self.client.post(f"/orders/{order}", name="POST /orders/ID")
        if answer.status_code == 201:
            acknowledge(order)


@verifies("orders")
def orders_in_redis(keys, target):
    with httpx.Client(base_url=target["url"], timeout=5, trust_env=False) as client:
        return {key for key in keys if is_kept(client, key)}


def is_kept(client, key):
    answer = client.get(f"/orders/{key}")
    if answer.status_code == 404:
        return False
    answer.raise_for_status()  # whoever could not look has not found that it is gone: it is asked again
    return True
