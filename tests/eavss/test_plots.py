"""The picture of a profile."""

from pathlib import Path

from PIL import Image, ImageChops

from eavss.plots import plot_profile
from eavss.records import LayerScores


def layers(bootstrap: bool) -> list[LayerScores]:
    scores: list[LayerScores] = [
        {
            "layer": number,
            "avss": {"paper": 10.0 + number, "scale_free": 1.0},
            "navss": 0.25,
            "cavss": 0.25 * (number + 1),
            "block_influence": 0.1,
            "hsav": 0.1 * number,
            "hss": 0.5,
            "eavss": {"contrast": 0.2 * number, "conditional": 10.0},
        }
        for number in range(4)
    ]
    if bootstrap:
        for layer in scores:
            layer["bootstrap"] = {"interval": [0.1, 0.9], "frequency": 0.5}
    return scores


def draw(folder: Path, name: str, selected: list[int], bootstrap: bool = True) -> Image.Image:
    plot_profile(layers(bootstrap), selected, "a title", folder / name)
    with Image.open(folder / name) as image:
        return image.convert("RGB")


def test_the_picture_shows_the_selection_and_the_intervals(tmp_path: Path) -> None:
    plain = draw(tmp_path, "a.png", [2])
    assert plain.size == (780, 780)
    for other in (draw(tmp_path, "b.png", [3]), draw(tmp_path, "c.png", [2], bootstrap=False)):
        assert ImageChops.difference(plain, other).getbbox() is not None


def test_the_same_profile_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(tmp_path, name, [2])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
