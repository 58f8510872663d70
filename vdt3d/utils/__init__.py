"""The floor: what every folder may use and what uses nothing of ours."""
