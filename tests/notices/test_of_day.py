from continualml.notices.of_day import Day, Standing, digest


def test_the_digest_counts_the_moves_that_were_not_said() -> None:
    stands = Standing(champion=3, moved_again={"income": 4, "confidence": 1})
    day = Day(models={"loan": stands}, components={}, at="2026-11-25T00:00:00+00:00", since="then")
    (fact,) = digest(day).facts
    assert "moved again since that was said: income 4, confidence 1" in fact[1]
