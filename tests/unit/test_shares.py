"""Shares: no profile ever has more than its workers, and none waits for another (promise 7)."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.shares import Share, next_share

NAMES = ("notification", "a", "b", "c")


def test_alone_a_profile_has_all_workers():
    assert next_share([], ["notification"], 5) == Share(5)
    assert next_share(["notification"] * 3, ["notification"], 5) == Share(2)
    assert next_share(["notification"] * 5, ["notification"], 5) == Share(0)


def test_one_that_has_all_it_may_is_left_out_and_the_others_go_on():
    assert next_share(["a"] * 5, ["notification", "a"], 5) == Share(5, ("a",))
    assert next_share(["a"] * 5 + ["b"] * 4, ["notification", "a", "b"], 5) == Share(1, ("a",))
    assert next_share(["a"] * 5 + ["b"] * 6, ["a", "b"], 5) == Share(0)
    assert next_share(["gone"] * 5, ["notification"], 5) == Share(5, ("gone",))


@given(
    st.lists(st.sampled_from(NAMES), max_size=40),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=60),
    st.integers(1, 8),
)
def test_promise_7_whatever_is_claimed_nobody_exceeds_his_workers_and_nobody_starves(under_way, due, workers):
    """`due` are the profiles of the queue in order; a claim takes the first of them that it may."""
    counts = Counter(under_way)
    share = next_share(under_way, NAMES, workers)
    taken = [name for name in due if name not in share.without][: share.limit]
    assert all(counts[name] + taken.count(name) <= workers for name in taken)
    free = [name for name in due if counts[name] < workers]
    assert bool(taken) == bool(free)
