"""MLflow -> tidy frames -> statistics -> figures -> report. Never imports torch."""

from analysis.power import plan_power

__all__ = ["plan_power"]
