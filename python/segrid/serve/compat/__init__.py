"""Two services that exist, answered call by call: their front ends need another address only."""

from __future__ import annotations

from segrid.serve.compat.grid import GridTool
from segrid.serve.compat.video import VideoService

# The parts of the server by the names of the setting `compat`.
PARTS: dict[str, type[VideoService] | type[GridTool]] = {"video": VideoService, "grid": GridTool}
