"""Findings that are kept: the file, the page of all, and whether a new run agrees."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as store

from analysis import __main__ as command
from analysis import kept, kept_page
from analysis.ablation import Relation
from analysis.agreement import Reading, beside, compared, turned
from analysis.findings import findings
from analysis.gates import Level
from analysis.revisions import History
from analysis.study import Study
from harness.errors import ConfigError

ACCURACY = "eval/accuracy"


@pytest.fixture(scope="module")
def finding(sound: Study) -> dict[str, Any]:
    return kept.made(sound, findings(sound))


def test_a_finding_holds_every_seed_and_what_it_was_made_of(
    finding: dict[str, Any], sound: Study
) -> None:
    own = finding["seeds"][ACCURACY]
    assert set(own) == set(sound.labels)
    for label in sound.labels:
        assert list(own[label].values()) == pytest.approx(list(sound.values(ACCURACY, label)))
    assert finding["made_of"]["git_commit"] == store.COMMIT
    assert finding["made_of"]["versions"] == store.VERSIONS
    assert finding["seal"] == sound.manifest.seal
    assert finding["command"] == f"harness -m +ablation={store.SOUND.name}"
    unclear = [gate.question for gate in findings(sound).gates if gate.level is not Level.OK]
    assert [gate["question"] for gate in finding["gates"]] == unclear
    json.dumps(finding, allow_nan=False)


def test_each_claim_has_the_words_of_the_report(sound: Study, asked: Callable[..., Study]) -> None:
    rising = asked(sound, predictions=[store.prediction(Relation.GREATER, ACCURACY, 0.0)])
    (verdict, *_) = kept.made(rising, findings(rising))["verdicts"]
    (found,) = findings(rising).predicted
    assert verdict["claim"] == "grpo − reinforce on eval/accuracy is greater than 0.000"
    assert (verdict["verdict"], verdict["predicted"]) == (found.word, True)
    assert verdict["n"] == list(found.verdict.difference.n)


def test_a_confirmation_of_tuned_values_says_so_in_its_command(sound: Study) -> None:
    planned = store.seal(store.manifest(store.SOUND), tuned=[store.BASE_TUNED, store.GRPO_TUNED])
    confirmed = dataclasses.replace(sound, history=History([planned], []))
    command = kept.made(confirmed, findings(confirmed))["command"]
    assert command == f"harness -m +ablation={store.SOUND.name} sweep.stage=confirm"


def test_the_file_and_the_page_are_byte_identical(stored: Path, tmp_path: Path) -> None:
    def written() -> list[bytes]:
        path = kept.keep(stored, store.SOUND.name, tmp_path)
        return [path.read_bytes(), kept_page.write(tmp_path).read_bytes()]

    assert written() == written()
    assert kept.everything(tmp_path) == [kept.read(tmp_path / f"{store.SOUND.name}.json")]


def test_the_committed_page_is_that_of_the_committed_findings() -> None:
    committed = (kept.FOLDER / kept_page.PAGE).read_text(encoding="utf-8")
    assert committed == kept_page.page(kept.everything())


@pytest.mark.parametrize(
    ("word", "heading"),
    [
        ("supported", "What holds"),
        ("higher", "What holds"),
        ("refuted", "What does not hold"),
        ("undecided", "What stays undecided"),
        ("withheld", "What stays undecided"),
    ],
)
def test_a_claim_stands_under_its_verdict_and_nowhere_else(
    finding: dict[str, Any], word: str, heading: str
) -> None:
    own = copy.deepcopy(finding)
    own["verdicts"] = [own["verdicts"][0] | {"verdict": word, "claim": "so it is"}]
    sections = kept_page.page([own]).split("\n## ")
    assert [part.splitlines()[0] for part in sections if "so it is" in part] == [heading]


def test_few_seeds_are_a_screening(finding: dict[str, Any]) -> None:
    few = min(len(own) for own in finding["seeds"][ACCURACY].values()) < kept.CONFIRMS
    assert finding["screening"] is few
    assert "A screening" in kept_page.page([finding | {"screening": True}])
    assert "A confirmation" in kept_page.page([finding | {"screening": False}])


def test_an_incomplete_study_is_not_kept(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 of \d+ planned trials have no result"):
        kept.keep(stored, store.FULL.name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_incomplete_study_is_not_compared(
    stored: Path, tmp_path: Path, finding: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that ended badly would drop out, and the rest agree."""
    name = store.FULL.name
    (tmp_path / f"{name}.json").write_text(kept.signed(finding | {"name": name}))
    where = ["--folder", str(tmp_path), "--runs", str(stored)]
    assert command.main(["findings", "--check", name, *where]) == command.USER_ERROR
    assert "planned trials have no result" in capsys.readouterr().err


def test_a_grid_is_not_kept(sound: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = dataclasses.replace(sound.manifest, grid=True)
    grid = dataclasses.replace(sound, history=History([manifest], []))
    monkeypatch.setattr(kept, "read_study", lambda runs, name: grid)
    with pytest.raises(ConfigError, match="findings are kept of ablation files"):
        kept.keep(tmp_path, store.SOUND.name, tmp_path)


@pytest.fixture(scope="module")
def coarse(finding: dict[str, Any]) -> dict[str, Any]:
    """The finding, of which three seeds are enough to check all: KL predicted within .05."""
    predictions = [p | {"margin": max(p["margin"], 0.05)} for p in finding["predictions"]]
    return finding | {"predictions": predictions}


def read_off(kept: dict[str, Any], now: dict[str, Any]) -> dict[tuple[str, str], Reading]:
    return {(arm.metric, arm.variant): arm.reading for arm in compared(kept, now)}


def nudged(data: dict[str, Any]) -> dict[str, Any]:
    """Every result in its ninth digit: no longer the same run, and not another result."""
    own = copy.deepcopy(data)
    for seeds in (each for arms in own["seeds"].values() for each in arms.values()):
        seeds.update({seed: value * (1 + 1e-9) for seed, value in seeds.items()})
    return own


def test_equal_to_the_bit_agrees_whatever_the_spread(finding: dict[str, Any]) -> None:
    """KL, which is too coarse to tell by its interval, repeats at every seed."""
    assert set(read_off(finding, finding).values()) == {Reading.AGREES}
    one = copy.deepcopy(finding)
    own = one["seeds"]["eval/kl"]["grpo"]
    own[next(iter(own))] += 1e-12
    assert read_off(finding, one)[("eval/kl", "grpo")] is Reading.BLIND


def test_the_same_run_agrees_and_a_planted_result_does_not(coarse: dict[str, Any]) -> None:
    finding = coarse
    assert set(read_off(finding, finding).values()) == {Reading.AGREES}
    wrong = copy.deepcopy(finding)
    label = next(iter(wrong["seeds"][ACCURACY]))
    for seed in wrong["seeds"][ACCURACY][label]:
        wrong["seeds"][ACCURACY][label][seed] -= 0.3
    by_arm = read_off(wrong, finding)
    assert by_arm.pop((ACCURACY, label)) is Reading.DISAGREES
    assert set(by_arm.values()) == {Reading.AGREES}


def test_what_could_not_have_disagreed_does_not_agree(finding: dict[str, Any]) -> None:
    """KL is predicted within .01; with sd .002 at 3 and 3 seeds, .0135 is what the test shows.

    6 arms and metrics: level .05 / 6 = .00833, where 80 % power needs 6.74 sd (6.74 = that of
    the length, whose sd is 1), so 6.74 * .002 = .0135 > .01.
    """
    near = nudged(finding)
    by_arm = read_off(finding, near)
    blind = {key for key, reading in by_arm.items() if reading is Reading.BLIND}
    assert blind == {("eval/kl", "grpo"), ("eval/kl", "reinforce")}
    kl = next(arm for arm in compared(finding, near) if arm.metric == "eval/kl")
    assert (kl.shows, kl.about) == (pytest.approx(0.01348, abs=1e-5), 0.01)
    length = next(arm for arm in compared(finding, near) if "length" in arm.metric)
    assert (length.shows, length.about) == (pytest.approx(6.742, abs=1e-3), pytest.approx(10))


def test_two_seeds_agree_with_nothing(coarse: dict[str, Any]) -> None:
    few = copy.deepcopy(coarse)
    for own in few["seeds"].values():
        for label, seeds in own.items():
            own[label] = dict(list(seeds.items())[:2])
    assert set(read_off(coarse, few).values()) == {Reading.BLIND}


def test_a_new_run_that_differs_as_seeds_do_agrees(coarse: dict[str, Any]) -> None:
    """Each arm's results moved by a third of their spread: nothing that Welch's test would see."""
    finding, moved = coarse, copy.deepcopy(coarse)
    for own in moved["seeds"].values():
        for label, seeds in own.items():
            spread = max(seeds.values()) - min(seeds.values())
            own[label] = {seed: value + spread / 3 for seed, value in seeds.items()}
    assert set(read_off(finding, moved).values()) == {Reading.AGREES}


def test_arms_without_a_spread_agree_only_when_equal(finding: dict[str, Any]) -> None:
    same = {"seeds": {ACCURACY: {"a": {"0": 0.5, "1": 0.5}}}}
    other = {"seeds": {ACCURACY: {"a": {"0": 0.6, "1": 0.6}}}}
    assert compared(finding | same, finding | same)[0].reading is Reading.AGREES
    assert compared(finding | same, finding | other)[0].reading is Reading.DISAGREES


@pytest.mark.parametrize("key", ["question", "budget", "baseline"])
def test_another_question_is_not_compared(finding: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is not that of the finding"):
        compared(finding, finding | {key: "another"})


def test_one_seed_is_too_few_to_compare(finding: dict[str, Any]) -> None:
    one = {"seeds": {ACCURACY: {label: {"0": 0.5} for label in finding["seeds"][ACCURACY]}}}
    with pytest.raises(ConfigError, match="at least 2 seeds"):
        compared(finding, finding | one)


def test_the_command_keeps_checks_and_refuses(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, where = store.SOUND.name, ["--folder", str(tmp_path), "--runs", str(stored)]
    assert command.main(["findings", name, *where]) == 0
    assert (tmp_path / kept_page.PAGE).is_file()
    path = tmp_path / f"{name}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    assert command.main(["findings", "--check", name, *where]) == 0
    del data[kept.DIGEST]
    data = nudged(data)
    path.write_text(kept.signed(data), encoding="utf-8")
    capsys.readouterr()
    assert command.main(["findings", "--check", name, *where]) == command.NOT_AGREED
    said = " ".join(capsys.readouterr().out.split())
    assert "change of 0.013, the finding is about one of 0.010" in said
    assert f"{name}: the new run has too few seeds, or too much spread over them, to tell" in said
    for planned in data["predictions"]:
        planned["margin"] = max(planned["margin"], 0.05)
    path.write_text(json.dumps(data | {kept.DIGEST: "another"}), encoding="utf-8")
    assert command.main(["findings", "--check", name, *where]) == command.USER_ERROR
    assert "is not what was kept (its digest is another's)" in capsys.readouterr().err
    path.write_text(kept.signed(data), encoding="utf-8")
    assert command.main(["findings", "--check", name, *where]) == 0
    assert f"{name}: the new run agrees" in capsys.readouterr().out
    for seeds in data["seeds"][ACCURACY].values():
        seeds.update({seed: value - 0.3 for seed, value in seeds.items()})
    path.write_text(kept.signed(data), encoding="utf-8")
    assert command.main(["findings", "--check", name, *where]) == command.NOT_AGREED
    assert "does not agree" in capsys.readouterr().out
    assert command.main(["findings", "--check", "other", *where]) == command.USER_ERROR
    assert f"there are: {name}" in capsys.readouterr().err
    assert command.main(["findings", "--check", name, "other", *where]) == command.USER_ERROR
    assert "--check takes one finding" in capsys.readouterr().err
    nowhere = ["--folder", str(tmp_path / "typo"), "--runs", str(stored)]
    assert command.main(["findings", *nowhere]) == command.USER_ERROR
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


PLANTED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a verdict": lambda data: data["verdicts"][0].update(verdict="refuted"),
    "a difference": lambda data: data["verdicts"][0].update(difference="+9.999 [+9.0, +9.1]"),
    "a mean": lambda data: data["results"][0].update(mean=0.1),
    "a seed": lambda data: data["seeds"][ACCURACY].update(grpo={"0": "high"}),
    "no seeds": lambda data: data.update(seeds={}),
    "no gates": lambda data: data.pop("gates"),
    "a commit": lambda data: data["made_of"].update(git_commit=None),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_whatever_a_hand_changes_is_seen(
    finding: dict[str, Any], plant: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    path = tmp_path / f"{store.SOUND.name}.json"
    path.write_text(kept.signed(finding), encoding="utf-8")
    assert kept.read(path) == json.loads(json.dumps(finding))
    data = json.loads(path.read_text(encoding="utf-8"))
    plant(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="is not what was kept"):
        kept.read(path)


def test_a_key_that_is_written_twice_is_seen(finding: dict[str, Any], tmp_path: Path) -> None:
    """JSON takes the last one, a reader the first."""
    path = tmp_path / f"{store.SOUND.name}.json"
    path.write_text(kept.signed(finding).replace("{", '{\n "baseline": "another",', 1))
    with pytest.raises(ConfigError, match="is not as it was kept"):
        kept.read(path)


def test_a_finding_under_anothers_name_is_refused(finding: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "copy.json").write_text(kept.signed(finding), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"holds the finding '{store.SOUND.name}'"):
        kept.everything(tmp_path)


@pytest.mark.parametrize("taken", [f"{store.SOUND.name}.json", kept_page.PAGE])
def test_a_folder_in_a_files_place_is_one_line(
    stored: Path, tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--folder", str(tmp_path), "--runs", str(stored)]
    (tmp_path / taken).mkdir()
    assert command.main(["findings", store.SOUND.name, *where]) == command.USER_ERROR
    said = " ".join(capsys.readouterr().err.split())
    assert f"{taken} cannot be written (Is a directory)" in said
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]


def test_an_opposite_verdict_and_other_makings_are_told(finding: dict[str, Any]) -> None:
    assert (turned(finding, finding), beside(finding, finding)) == ([], [])
    claim = {"claim": "so it is", "predicted": True, "verdict": "supported"}
    other = copy.deepcopy(finding) | {"verdicts": [claim | {"verdict": "refuted"}]}
    other["made_of"]["code_hash"] = "another"
    other["made_of"]["versions"]["torch"] = "0.0"
    other["seeds"][ACCURACY]["fourth"] = {"0": 0.5}
    own = finding | {"verdicts": [claim]}
    assert turned(own, other) == ["so it is"]
    code, torch = finding["made_of"]["code_hash"], finding["made_of"]["versions"]["torch"]
    assert beside(own, other) == [
        "verdict refuted, kept supported: so it is",
        "the new run has an arm 'fourth' that is not kept",
        f"code_hash another, kept {code}",
        f"torch 0.0, kept {torch}",
    ]
    assert beside(own, finding | {"verdicts": []}) == ["the new run says nothing of: so it is"]
    undecided = other | {"verdicts": [claim | {"verdict": "undecided"}]}
    assert turned(own, undecided) == []


def test_a_withheld_claim_says_why_on_the_page(finding: dict[str, Any]) -> None:
    own = copy.deepcopy(finding)
    own["verdicts"][0] |= {"verdict": "withheld", "predicted": True, "reason": "no spread"}
    assert "| withheld: no spread |" in kept_page.page([own])


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "is no JSON"), ("[" * 200_000, "is no JSON"), ("[]", "is no finding")],
)
def test_a_damaged_finding_is_one_line(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        kept.read(path)


@pytest.mark.parametrize("arguments", [["sound"], []], ids=["keep", "page"])
def test_a_folder_that_cannot_be_written_is_one_line(
    stored: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    where = ["--folder", str(file), "--runs", str(stored)]
    assert command.main(["findings", *arguments, *where]) == command.USER_ERROR
    assert "--folder: cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"), [("../up", "names a folder"), ("x" * 300, "names a folder")]
)
def test_a_finding_is_looked_for_in_its_folder_only(
    stored: Path, tmp_path: Path, name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "up.json").write_text("{}")
    where = ["--folder", str(tmp_path / "in"), "--runs", str(stored)]
    assert command.main(["findings", "--check", name, *where]) == command.USER_ERROR
    assert says in capsys.readouterr().err


def test_a_finding_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.json").mkdir()
    with pytest.raises(ConfigError, match=r"mine.json cannot be read \(Is a directory\)"):
        kept.read(tmp_path / "mine.json")
