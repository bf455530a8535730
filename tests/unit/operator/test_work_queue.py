"""The queue: each key once, one worker a key, longer waits after failures, and bounds."""

from controller.operator.kubernetes.work_queue import WorkQueue


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def queue(**settings):
    clock = Clock()
    return WorkQueue(clock=clock, **settings), clock


def test_a_waiting_key_is_not_added_twice():
    """However often a key is added while it waits, it is handed out once."""
    keys, _ = queue()
    for _ in range(5):
        assert keys.add("a")
    assert keys.take(timeout_seconds=0.0) == "a"
    assert keys.take(timeout_seconds=0.0) is None


def test_a_key_that_is_worked_on_comes_once_more():
    """What is added during the work is not lost, and does not run beside it."""
    keys, _ = queue()
    keys.add("a")
    keys.take(timeout_seconds=0.0)
    keys.add("a")
    keys.add("a")
    assert keys.take(timeout_seconds=0.0) is None
    keys.done("a")
    assert keys.take(timeout_seconds=0.0) == "a"
    keys.done("a")
    assert keys.take(timeout_seconds=0.0) is None


def test_the_earlier_time_wins():
    """A key that is wanted sooner than it was queued for comes sooner, and only once."""
    keys, clock = queue()
    keys.add("a", delay_seconds=10.0)
    keys.add("a", delay_seconds=1.0)
    keys.add("a", delay_seconds=5.0)
    assert keys.take(timeout_seconds=0.0) is None
    clock.now = 1.0
    assert keys.take(timeout_seconds=0.0) == "a"
    keys.done("a")
    clock.now = 20.0
    assert keys.take(timeout_seconds=0.0) is None


def test_failures_wait_longer_and_success_forgets_them():
    """The bound of the wait doubles with each failure in a row, and a success starts it anew."""
    keys, clock = queue()
    waits = []
    for _ in range(8):
        keys.add("a")
        clock.now += 100.0
        assert keys.take(timeout_seconds=0.0) == "a"
        waits.append(keys.retry("a"))
    assert all(wait <= 0.2 * 2**index for index, wait in enumerate(waits))
    assert waits[-1] >= 0.2 * 2**7 / 10.0
    clock.now += 100.0
    keys.take(timeout_seconds=0.0)
    keys.done("a")
    keys.add("a")
    keys.take(timeout_seconds=0.0)
    assert keys.retry("a") <= 0.2


def test_a_full_queue_refuses_and_counts():
    """The queue never holds more than its bound; keys that wait already are still taken."""
    keys, _ = queue(max_keys=2)
    assert keys.add("a") and keys.add("b")
    assert not keys.add("c")
    assert keys.add("a")
    assert (len(keys), keys.num_refused) == (2, 1)


def test_the_rate_is_bounded():
    """After a burst, keys come no faster than the rate."""
    keys, clock = queue(per_second=10.0, burst=2)
    for index in range(5):
        keys.add(index)
    assert [keys.take(timeout_seconds=0.0) for _ in range(3)] == [0, 1, None]
    clock.now = 0.1
    assert [keys.take(timeout_seconds=0.0) for _ in range(2)] == [2, None]
