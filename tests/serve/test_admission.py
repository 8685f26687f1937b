"""Who computes next: turns between clients, bounded waiting, slots that are never lost."""

import asyncio
import random

import pytest
from segrid.serve import Settings
from segrid.serve.admission import Admission
from segrid.serve.errors import ServiceError


def test_clients_take_turns():
    async def run():
        admission, order = Admission(Settings(compute_slots=1)), []

        async def request(client):
            await admission.enter(client)
            order.append(client)
            await asyncio.sleep(0)
            admission.leave(0.1)

        await admission.enter("first")
        tasks = [asyncio.create_task(request(client)) for client in "aaaaaabbc"]
        await asyncio.sleep(0.01)
        assert admission.waiting == 9 and admission.computing == 1
        admission.leave(0.1)
        await asyncio.gather(*tasks)
        assert admission.waiting == 0 and admission.computing == 0
        return "".join(order)

    assert asyncio.run(run()) == "abcabaaaa"


@pytest.mark.parametrize(
    "limits, clients, setting",
    [
        ({"queue_per_client": 2}, "aaa", "queue_per_client"),
        ({"queue": 2}, "abc", "queue"),
        ({"queue_seconds": 0.05}, "a", "queue_seconds"),
    ],
)
def test_waiting_is_bounded(limits, clients, setting):
    async def run():
        admission = Admission(Settings(compute_slots=1, **limits))
        await admission.enter("x")
        tasks = [asyncio.create_task(admission.enter(client)) for client in clients]
        with pytest.raises(ServiceError) as error:
            await tasks[-1]
        for task in tasks[:-1]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert admission.waiting == 0
        return error.value

    error = asyncio.run(run())
    assert error.status == 429 and error.setting == setting and setting in error.message
    assert 1 <= int(error.headers["Retry-After"]) <= 60


def test_slots_are_never_lost():
    """Requests are cancelled at random moments, also in the moment in which they get their turn."""

    async def run():
        chance = random.Random(3)
        admission = Admission(Settings(compute_slots=2, queue=1000, queue_per_client=1000))
        most = 0

        async def request(client):
            nonlocal most
            await admission.enter(client)
            try:
                most = max(most, admission.computing)
                await asyncio.sleep(chance.random() / 500)
            finally:
                admission.leave(0.001)

        tasks = [asyncio.create_task(request(chance.choice("abc"))) for _ in range(400)]
        while not all(task.done() for task in tasks):
            chance.choice(tasks).cancel()
            await asyncio.sleep(0.0005)
        await asyncio.sleep(0)
        assert admission.computing == 0 and admission.waiting == 0 and most == 2

    asyncio.run(run())
