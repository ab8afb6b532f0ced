"""The course's exercises: what a learner writes, and how it is told right from wrong.

`python -m harness.exercises check FILE` judges the functions in a notebook of
analysis/notebooks/course, or in a .py file. Each has the name and the arguments of the harness's
own. It is given the golden cases that the harness's own function must reproduce (tests/golden) and
a few worked by hand, and must keep the properties that the tests ask of that function. Where it
fails, it is compared with the usual mistakes: the one that gives the same numbers is named.
"""
