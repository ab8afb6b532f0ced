from mypkg.my_rloo import MyRloo

from harness.testing import AlgorithmContract


class TestMyRloo(AlgorithmContract):
    algorithm = MyRloo()
