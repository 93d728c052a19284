"""The comparison of listen designs: what is compared, and what becomes of runs."""

from collections import Counter

import pytest
from newtos_py.bench import listen_designs
from newtos_py.bench.listen_designs import Place, Seen, outcome_of, places

from newtos_py.topology import ListenDesign, Steering


@pytest.mark.parametrize("quick", [False, True])
def test_every_design_has_a_place_and_every_steering_is_known(*, quick: bool) -> None:
    found = places(quick=quick)
    steerings = {each.value for each in Steering} | {None}
    assert {place.design for place in found} >= {design.value for design in ListenDesign}
    assert {place.steering for place in found} <= steerings
    assert len(set(found)) == len(found)
    assert len(places(quick=True)) <= len(found)
    assert {place.design for place in found if place.name == "Linux"} == {"stock", "reuseport"}


def test_curves_run_over_designs_and_the_papers_stand_beside_them() -> None:
    outcome = outcome_of(
        {
            Place("fine", "rss"): [Seen(400.0, 50.0), Seen(200.0, 52.0), Seen(300.0, 60.0)],
            Place("affinity", "rss"): [Seen(600.0, 99.0)],
            Place("another", "rss"): [Seen(100.0, None)],
            Place("stock", None): [Seen(100.0, None)],
            Place("reuseport", None): [Seen(150.0, None)],
        }
    )
    rates, local = outcome.panels
    at = {name: float(x) for x, name in enumerate(outcome.x_names, start=1)}
    curves = {curve.name: curve.points for curve in rates.curves}
    assert curves["newtos, rss"][at["fine"]].median == 300.0
    assert curves["newtos, rss"][at["another"]].median == 100.0
    assert curves["Linux"].keys() == {at["stock"], at["reuseport"]}
    paper = curves["Fastsocket, 24 cores (paper)"]
    assert paper[at["fastsocket"]].median == 475_000
    (shares,) = local.curves
    assert shares.points.keys() == {at["fine"], at["affinity"]}
    assert shares.points[at["fine"]].highest == 60.0
    assert "affinity, newtos, rss: 4.00 x Linux's better one" in outcome.notes
    assert "not in this version of newtos: stock, reuseport, fastsocket" in outcome.notes


def test_nothing_counted_is_no_share() -> None:
    assert listen_designs._share(Counter()) is None
