def test_click_everything_and_words(client, photo):
    answer = client.post("/v1/images", content=photo, headers={"content-type": "image/png"})
    assert answer.status_code == 201, answer.text
    image = answer.json()
    again = client.post("/v1/images", files={"image": ("a.png", photo)})
    assert again.json() == image
    address = f"/v1/images/{image['image_id']}"
    found = client.post(f"{address}/predict", json={"points": [[150, 50]], "labels": [1]}).json()
    assert found["masks"][0]["area"] > 0
    every = client.post(f"{address}/everything", json={"points_per_side": 8}).json()
    assert len(every["masks"]) > 3
    words = client.post(f"{address}/detect", json={"prompts": ["a coin"], "threshold": 0})
    assert words.status_code == 200, words.text
