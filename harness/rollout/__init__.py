"""Rollout: from prompts to sampled responses with their log-probs."""
