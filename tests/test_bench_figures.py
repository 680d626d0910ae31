"""What the benchmarks say of a figure: a goal met or missed, and one that could not be measured on this machine."""

from bench.figures import Figure


def test_a_figure_is_met_missed_or_missed_by_what_it_must_be():
    verdicts = [Figure("rate", value, 1.5, 1.0, least=True).verdict for value in (1.5, 1.2, 0.9)]
    assert verdicts == ["met", "missed", "MISSED"]


def test_what_could_not_be_measured_meets_nothing_and_says_why():
    figure = Figure("rate", None, 1.5, 1.0, least=True, detail="no node")
    assert not figure.meets(figure.goal)
    assert figure.verdict == ""
    assert "not measured: no node" in figure.line(quiet=True)
    assert "met" not in figure.line(quiet=True).split()
