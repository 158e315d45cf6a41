"""The configuration of the model that the long-running benchmarks serve: the built-in problem."""

from typing import Final

CONFIG: Final = """\
default = "stream"

[models.stream]
kind = "classification"
target = "y"
classes = ["no", "yes"]

[models.stream.features]
x1 = "numeric"
x2 = "numeric"
x3 = "numeric"
x4 = "numeric"

[models.stream.policy]
block = 50
"""
