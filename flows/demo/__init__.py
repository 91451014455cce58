"""``python -m flows.demo``: the main job on a real Prefect server, then failing, then killed, and what readers see."""
