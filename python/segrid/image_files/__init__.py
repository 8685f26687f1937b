"""The formats of image files; `segrid._image` is the one face to them."""
