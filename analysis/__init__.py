"""MLflow -> tidy frames -> statistics -> figures -> report. Never imports torch."""
