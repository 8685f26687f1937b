import time

CLICK = {"object_id": 1, "frame": 0, "points": [[60, 60]], "labels": [1]}


def opened(client, **more):
    answer = client.post("/v1/sessions", json={"path": "clip.mp4", **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def finished(client, job_id):
    for _ in range(600):
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["status"] not in ("pending", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_a_session_from_open_to_close(client):
    session = opened(client)
    address = f"/v1/sessions/{session['session_id']}"
    assert session["frames"] == 12 and (session["width"], session["height"]) == (160, 120)
    added = client.post(f"{address}/objects", json={**CLICK, "name": "blob"}).json()
    assert added["name"] == "blob" and added["mask"]["size"] == [120, 160] and added["area"] > 0
    job = client.post(f"{address}/propagate", json={}).json()
    job = finished(client, job["job_id"])
    assert job["status"] == "completed" and job["progress"] == 100, job
    masks = client.get(f"{address}/frames/7/masks").json()
    assert masks["masks"].keys() == {"1"}
    facts = client.get(address).json()
    assert facts["objects"][0]["frames_with_masks"] == list(range(12))
    assert client.get(f"{address}/frames/3").headers["content-type"] == "image/jpeg"
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404
