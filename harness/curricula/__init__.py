"""Curricula: which part of the pool a step draws from.

A level is one difficulty of the task's pool, easiest first; the first four are called very_easy,
easy, medium and hard (Countdown: three to six numbers; multiplication: by digits).
"""
