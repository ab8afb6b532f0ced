"""How many trials: ablation files and the Ray Tune code that runs them."""
