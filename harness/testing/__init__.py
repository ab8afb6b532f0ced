"""The contract of an algorithm as a test class: three lines test a plug-in of your own.

    from harness.testing import AlgorithmContract

    class TestMyRloo(AlgorithmContract):
        algorithm = MyRloo()

Each check is a test, on a small batch with an empty and a full response. A check that an algorithm
cannot meet by its nature is named in its ClassVar `exempt`; the kit then proves that it is needed:
the check has to fail.
"""

from collections.abc import Callable
from typing import Any

from harness.testing import checks


class AlgorithmContract:
    """Subclass it with an `algorithm`; pytest finds the tests."""

    algorithm: Any
    """An instance of yours."""

    def test_advantages(self) -> None:
        """(B,T), finite, of the rewards' dtype, 0 under the mask, not all 0."""
        self._holds(checks.check_advantages)

    def test_loss(self) -> None:
        """Terms of the shape their reduction takes, finite, of the dtype of the log-probs."""
        self._holds(checks.check_loss)

    def test_inputs_untouched(self) -> None:
        """Neither `advantages` nor `loss` writes into what it is given."""
        self._holds(checks.check_inputs_untouched)

    def test_mask(self) -> None:
        """Nothing under mask 0 changes advantages, loss, gradient or diagnostics."""
        self._holds(checks.check_mask)

    def test_zero_advantage(self) -> None:
        """Without an advantage the policy term pulls nowhere, on-policy or not."""
        self._holds(checks.check_zero_advantage)

    def test_sign(self) -> None:
        """Descent raises the log-probs of a response with A > 0, lowers with A < 0, no others."""
        self._holds(checks.check_sign)

    def test_permutation(self) -> None:
        """Advantages follow their rows, within and across groups; group ids are only names."""
        self._holds(checks.check_permutation)

    def test_splits(self) -> None:
        """Micro-batches and ranks, counted globally, change neither loss nor gradient."""
        self._holds(checks.check_splits)

    def test_on_policy(self) -> None:
        """old == new: the policy gradient is REINFORCE with this advantage and this reduction."""
        self._holds(checks.check_on_policy)

    def test_equal_rewards(self) -> None:
        """A group whose rewards are all equal says nothing, for every algorithm with groups."""
        self._holds(checks.check_equal_rewards)

    def test_degenerate(self) -> None:
        """Groups of one and empty responses only: everything stays finite."""
        self._holds(checks.check_degenerate)

    def test_extreme_ratios(self) -> None:
        """log-ratios of ±1e4 in float32: loss, gradient and diagnostics stay finite."""
        self._holds(checks.check_extreme_ratios)

    def test_diagnostics_declared(self) -> None:
        """Every diagnostic and metric is declared, by the core or in METRICS."""
        self._holds(checks.check_diagnostics_declared)

    def test_documented(self) -> None:
        """Frozen, and its own hyper-parameters stand in the docstring's Attributes section."""
        self._holds(checks.check_documented)

    def _holds(self, check: Callable[[Any], None]) -> None:
        """The check holds, or fails where the algorithm says that it has to."""
        name = check.__name__.removeprefix("check_")
        if name not in getattr(self.algorithm, "exempt", ()):
            check(self.algorithm)
            return
        try:
            check(self.algorithm)
        except AssertionError:
            return
        raise AssertionError(
            f"{type(self.algorithm).__name__} is exempt from {name!r} but meets it: "
            f"remove the name from `exempt`"
        )
