from locust import task

from faultload.load import Journey


class Visit(Journey):
    @task
    def visit(self):
        self.client.get("/", name="GET /")
